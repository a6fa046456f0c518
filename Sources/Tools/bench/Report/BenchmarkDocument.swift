import Foundation

/// A document with a table between two markers.
struct BenchmarkDocument {
    /// The document lacks the two markers, each on its own line, in this order.
    struct MarkersMissing: Error, CustomStringConvertible {
        var description: String {
            "the document has no place for the table: it needs the lines \(begin) and \(end)"
        }
    }

    private static let begin = "<!-- The table of make bench: begin -->"
    private static let end = "<!-- The table of make bench: end -->"

    private let before: String
    private let after: String
    /// The table in the document, or nil if there is none.
    let table: BenchmarkTable?

    init(text: String) throws(MarkersMissing) {
        guard let begin = text.firstRange(of: Self.begin + "\n"),
            let end = text[begin.upperBound...].firstRange(of: Self.end)
        else { throw MarkersMissing() }
        before = String(text[..<begin.upperBound])
        after = String(text[end.lowerBound...])
        table = BenchmarkTable(text[begin.upperBound..<end.lowerBound])
    }

    /// Returns the document with another table.
    func text(with table: BenchmarkTable) -> String { "\(before)\n\(table.text)\n\(after)" }
}

/// The machine of a run.
struct Machine: Sendable {
    /// All that influences the figures.
    ///
    /// One table has only rows of one machine.
    var description: String

    /// Describes this machine.
    ///
    /// - Parameters:
    ///   - postgres: The version of PostgreSQL.
    ///   - peers: The other measured servers with their versions.
    init(postgres: String, peers: [String]) {
        let cores = ProcessInfo.processInfo.activeProcessorCount
        let memory = Double(ProcessInfo.processInfo.physicalMemory) / Double(1 << 30)
        let kernel = (try? String(contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8)) ?? "?"
        let parts = [
            "\(cores) cores" + (Self.processor.map { " of \($0)" } ?? ""),
            "\(Int(memory.rounded(.up))) GiB of memory",
            "Linux \(kernel.trimmingCharacters(in: .whitespacesAndNewlines))",
            "PostgreSQL \(postgres)",
        ]
        description = (parts + peers).joined(separator: ", ") + "."
    }

    private static var processor: String? {
        let lines = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?.split(separator: "\n") ?? []
        guard let line = lines.first(where: { $0.hasPrefix("model name") }), let colon = line.firstIndex(of: ":")
        else { return nil }
        return line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
    }
}
