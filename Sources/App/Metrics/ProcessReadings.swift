import FoundationEssentials
import Glibc

/// Readings of this process from `/proc` (proc(5)) and from system calls.
enum ProcessReadings {
    /// Resident memory in bytes: the second number of `statm`, in pages.
    ///
    /// Reads the entry of the calling thread. The entry of the process says 0 after its first thread has ended.
    static func residentBytes() -> Int? {
        let fields = text(of: "/proc/thread-self/statm")?.split(separator: " ") ?? []
        guard fields.count > 1, let pages = Int(fields[1]) else { return nil }
        return pages * Int(getpagesize())
    }

    /// The number of open descriptors, without the one that this function opens.
    static func openDescriptors() -> Int? {
        guard let directory = opendir("/proc/thread-self/fd") else { return nil }
        defer { closedir(directory) }
        // Leaves out ".", ".." and the directory itself.
        var count = -3
        while readdir(directory) != nil { count += 1 }
        return count
    }

    /// The limit of open descriptors: "the soft limit is the value that the kernel enforces" (getrlimit(2)).
    static func descriptorLimit() -> Int? {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return nil }
        return Int(clamping: limit.rlim_cur)
    }

    /// Processor time of all threads in seconds, in user and system mode.
    static func processorSeconds() -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return [usage.ru_utime, usage.ru_stime].reduce(0) { $0 + Double($1.tv_sec) + Double($1.tv_usec) / 1e6 }
    }

    /// When the process started, in seconds since the Unix epoch.
    ///
    /// The sum of `btime` in `/proc/stat`, the time of the boot, and field 22 of `stat`, in clock ticks since the boot.
    static let startTime: Double? = {
        // The second field is the program's name in parentheses. It may itself contain blanks and parentheses.
        let stat = text(of: "/proc/self/stat")?.split(separator: ")").last?.split(separator: " ") ?? []
        let boot = text(of: "/proc/stat")?.split(separator: "\n").first { $0.hasPrefix("btime ") }?.split(
            separator: " ")
        let ticksPerSecond = sysconf(Int32(_SC_CLK_TCK))
        guard stat.count > 19, let ticks = Double(stat[19]), let boot = boot?.last.flatMap({ Double($0) }),
            ticksPerSecond > 0
        else { return nil }
        return boot + ticks / Double(ticksPerSecond)
    }()

    /// Reads a file of `/proc` to its end.
    ///
    /// Such a file has no size, and one read may return only a part of it.
    private static func text(of path: String) -> String? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var text: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 4_096)
        while case let count = fread(&part, 1, part.count, file), count > 0 { text += part[..<count] }
        return ferror(file) == 0 ? String(decoding: text, as: UTF8.self) : nil
    }
}
