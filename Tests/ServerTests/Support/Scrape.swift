import Domain
import Foundation
import NIOHTTP1
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The metrics of a server, parsed as Prometheus parses them.
struct Scrape: Sendable {
    struct Sample: Sendable {
        let name: String
        let labels: [String: String]
        let value: Double
    }

    let text: String
    private(set) var samples: [Sample] = []
    private(set) var types: [String: String] = [:]
    private(set) var meanings: [String: String] = [:]

    /// - Throws: An issue when a line does not have the format.
    init(_ text: String) throws {
        self.text = text
        try #require(text.hasSuffix("\n"))
        for line in text.split(separator: "\n").map(String.init) {
            let words = line.split(separator: " ", maxSplits: 3)
            if words.count == 4, words[0] == "#", words[1] == "TYPE" {
                try #require(types.updateValue(String(words[3]), forKey: String(words[2])) == nil, "\(line)")
            } else if words.count == 4, words[0] == "#", words[1] == "HELP" {
                try #require(meanings.updateValue(String(words[3]), forKey: String(words[2])) == nil, "\(line)")
            } else {
                samples.append(try #require(Self.sample(line), "\(line)"))
            }
        }
        for sample in samples { try #require(types[metric(of: sample)] != nil, "\(sample.name) has no TYPE") }
    }

    /// Reads `name{label="value",…} value`.
    ///
    /// By hand: there are many lines, and regular expressions would slow the other tests. No value of a label holds a
    /// quote.
    private static func sample(_ line: String) -> Sample? {
        guard let space = line.lastIndex(of: " "), let value = Double(line[line.index(after: space)...]) else {
            return nil
        }
        let series = line[..<space]
        guard let brace = series.firstIndex(of: "{") else {
            return Sample(name: String(series), labels: [:], value: value)
        }
        guard series.hasSuffix("\"}") else { return nil }
        var labels: [String: String] = [:]
        for pair in series[series.index(after: brace)...].dropLast(2).components(separatedBy: "\",") {
            let halves = pair.components(separatedBy: "=\"")
            guard halves.count == 2, labels.updateValue(halves[1], forKey: halves[0]) == nil else { return nil }
        }
        return Sample(name: String(series[..<brace]), labels: labels, value: value)
    }

    /// The value of a series; nil when there is none.
    func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
        samples.first { $0.name == name && $0.labels == labels }?.value
    }

    /// The metric that a sample belongs to.
    ///
    /// The samples of a histogram have names of their own.
    func metric(of sample: Sample) -> String {
        for suffix in ["_bucket", "_sum", "_count"] where sample.name.hasSuffix(suffix) {
            let stem = String(sample.name.dropLast(suffix.count))
            if types[stem] == "histogram" { return stem }
        }
        return sample.name
    }

    /// The names of a metric's labels.
    func labels(of metric: String) -> Set<String> {
        Set(samples.filter { self.metric(of: $0) == metric }.flatMap(\.labels.keys)).subtracting(["le"])
    }
}

extension Clinic {
    /// Reads the metrics as an administrator.
    func scrape() async throws -> Scrape {
        let response = try await request(.GET, "/metrics", as: .admin)
        try #require(response.status == 200)
        return try Scrape(response.text)
    }
}

extension WorkerScene {
    /// Scrapes the server as a new administrator.
    func metrics() async throws -> Scrape {
        let admin = try await server.token(try await database.addUser(.admin))
        return try Scrape(try await server.request(.GET, "/metrics", token: admin).text)
    }
}

/// The table of `docs/metrics.md`.
struct MetricsDocument {
    struct Row {
        let type: String
        let labels: Set<String>
        let meaning: String
    }

    let rows: [String: Row]

    init() throws {
        let text = try String(contentsOf: packageRoot.appending(path: "docs/metrics.md"), encoding: .utf8)
        var rows: [String: Row] = [:]
        for match in text.matches(of: /\n\| `(therapybridge_\w+)` \| (\w+) \|([^|]*)\| (.*) \|/) {
            rows[String(match.1)] = Row(
                type: String(match.2), labels: Set(match.3.matches(of: /`(\w+)`/).map { String($0.1) }),
                meaning: String(match.4))
        }
        self.rows = rows
    }
}
