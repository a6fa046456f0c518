import Foundation

/// On what was measured.
struct Machine: Sendable {
    /// What decides about the figures: rows of different machines do not stand in one table.
    var description: String

    /// Describes this machine.
    ///
    /// - Parameters:
    ///   - postgres: The version of PostgreSQL.
    ///   - peers: What is measured beside the server, with versions.
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
