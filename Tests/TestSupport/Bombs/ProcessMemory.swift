import Foundation

/// What the kernel says about the memory of processes and of the host.
public enum ProcessMemory {
    private static func processes() -> [Int] {
        ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).compactMap { Int($0) }
    }

    /// The memory that processes have for themselves, in bytes.
    ///
    /// It leaves out their programs and libraries, which they share.
    ///
    /// - Parameter processes: The numbers of the processes.
    /// - Returns: The sum. A process that has ended counts nothing.
    public static func bytes(of processes: [Int]) -> Int {
        processes.reduce(0) { sum, process in
            sum + bytes(in: "/proc/\(process)/status", ["RssAnon", "RssShmem"])
        }
    }

    /// The processes whose environment has a text.
    ///
    /// The folder of a stage is in the environment of every process of its cage, as a part of `TMPDIR`.
    ///
    /// - Parameter text: The text.
    /// - Returns: The numbers of the processes.
    public static func processes(withEnvironment text: String) -> [Int] {
        processes().filter {
            FileManager.default.contents(atPath: "/proc/\($0)/environ")?.range(of: Data(text.utf8)) != nil
        }
    }

    /// The memory that the host can still give away, in bytes.
    public static var available: Int { bytes(in: "/proc/meminfo", ["MemAvailable"]) }

    /// The sum of fields that are in kilobytes.
    private static func bytes(in path: String, _ names: [String]) -> Int {
        let lines = text(path)?.split(separator: "\n") ?? []
        return lines.reduce(0) { sum, line in
            guard names.contains(where: { line.hasPrefix($0 + ":") }) else { return sum }
            return sum + (line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) } ?? 0) * 1_024
        }
    }

    private static func text(_ path: String) -> String? {
        FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
    }
}
