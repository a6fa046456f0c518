import Domain
import Foundation
import NIOHTTP1
import TestSupport
import Testing

/// What a server says of itself, read as Prometheus reads it.
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

    /// - Throws: When a line is not of the format.
    init(_ text: String) throws {
        self.text = text
        try #require(text.hasSuffix("\n"))
        for line in text.split(separator: "\n") {
            if let match = line.wholeMatch(of: /# TYPE ([a-z_]+) (counter|gauge|histogram)/) {
                try #require(types.updateValue(String(match.2), forKey: String(match.1)) == nil, "\(line)")
            } else if let match = line.wholeMatch(of: /# HELP ([a-z_]+) (.+)/) {
                try #require(meanings.updateValue(String(match.2), forKey: String(match.1)) == nil, "\(line)")
            } else {
                samples.append(try Self.sample(String(line)))
            }
        }
    }

    private static func sample(_ line: String) throws -> Sample {
        let match = try #require(
            line.wholeMatch(of: /([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)+)\})? (\S+)/), "\(line)")
        let pairs = (match.2 ?? "").matches(of: /([a-z_]+)="((?:[^"\\]|\\.)*)"/).map { (String($0.1), String($0.2)) }
        return Sample(
            name: String(match.1), labels: Dictionary(uniqueKeysWithValues: pairs),
            value: try #require(Double(match.3), "\(line)"))
    }

    /// The value of a series; nil when there is none.
    func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
        samples.first { $0.name == name && $0.labels == labels }?.value
    }

    /// The metric that a line belongs to: a histogram's lines have names of their own.
    func metric(of sample: Sample) -> String {
        let stem = sample.name.replacing(/_(bucket|sum|count)$/, with: "")
        return types[stem] == "histogram" ? stem : sample.name
    }

    /// The names of a metric's labels.
    func labels(of metric: String) -> Set<String> {
        Set(samples.filter { self.metric(of: $0) == metric }.flatMap(\.labels.keys)).subtracting(["le"])
    }
}

extension Clinic {
    /// What the server says to an admin.
    func scrape() async throws -> Scrape {
        let response = try await request(.GET, "/metrics", as: .admin)
        try #require(response.status == 200)
        return try Scrape(response.text)
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
        // Tests/ServerTests/MetricsSupport.swift → the root of the package.
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: "docs/metrics.md"), encoding: .utf8)
        var rows: [String: Row] = [:]
        for match in text.matches(of: /\n\| `(therapybridge_\w+)` \| (\w+) \|([^|]*)\| (.*) \|/) {
            rows[String(match.1)] = Row(
                type: String(match.2), labels: Set(match.3.matches(of: /`(\w+)`/).map { String($0.1) }),
                meaning: String(match.4))
        }
        self.rows = rows
    }
}
