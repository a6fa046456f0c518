import Foundation
import Glibc

/// Readings of a process and its descendants from `/proc` (proc(5)).
struct ProcessFigures: Sendable {
    let processID: Int32

    /// The process and its descendants, because nginx works in child processes.
    private var family: [Int32] {
        var family = [processID]
        var next = 0
        while next < family.count {
            let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(family[next])/task")) ?? []
            for task in tasks {
                let children = Self.text("/proc/\(family[next])/task/\(task)/children") ?? ""
                family += children.split(separator: " ").compactMap { Int32($0) }
            }
            next += 1
        }
        return family
    }

    /// The private resident memory in bytes: `RssAnon` of all processes, and `RssShmem`, which workers share, once.
    var privateBytes: Int {
        let family = family
        return family.map { status("RssAnon", of: $0) }.reduce(0, +)
            + (family.map { status("RssShmem", of: $0) }.max() ?? 0)
    }

    /// The peak of resident memory since ``forgetPeak()``, in bytes.
    var peakBytes: Int { status("VmHWM", of: processID) }

    /// The resident memory in bytes.
    var residentBytes: Int { status("VmRSS", of: processID) }

    /// Resets ``peakBytes``.
    ///
    /// proc(5), `/proc/pid/clear_refs`: "5 […] Reset the peak resident set size ("high water mark") to the process's
    /// current resident set size value."
    func forgetPeak() throws { try Data("5".utf8).write(to: URL(filePath: "/proc/\(processID)/clear_refs")) }

    /// The processor time so far, in user space and in the kernel.
    var processorTime: Duration {
        // This clock counts nanoseconds. `/proc/pid/stat` counts hundredths of a second.
        family.map { process -> Duration in
            var clock = clockid_t()
            var time = timespec()
            guard clock_getcpuclockid(process, &clock) == 0, clock_gettime(clock, &time) == 0 else { return .zero }
            return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
        }.reduce(.zero, +)
    }

    /// The number of open descriptors.
    var descriptorCount: Int {
        family.map { (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\($0)/fd").count) ?? 0 }.reduce(0, +)
    }

    /// Waits until the memory is stable.
    ///
    /// After a wave of streams, a server may return memory or allocate more.
    ///
    /// - Returns: ``privateBytes`` once it has changed by less than 0.1 % in two seconds, or after 20 s.
    func settledBytes() async throws -> Int {
        let deadline = ContinuousClock.now + .seconds(20)
        var reference = privateBytes
        var since = ContinuousClock.now
        while ContinuousClock.now - since < .seconds(2), ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(100))
            let present = privateBytes
            if abs(present - reference) * 1000 > reference {
                reference = present
                since = .now
            }
        }
        return privateBytes
    }

    /// Whether the process exists and has not ended.
    static func isRunning(_ processID: Int32) -> Bool {
        guard let text = text("/proc/\(processID)/stat"), let end = text.lastIndex(of: ")") else { return false }
        return text[end...].split(separator: " ").dropFirst().first.map { $0 != "Z" && $0 != "X" } ?? false
    }

    private func status(_ name: String, of process: Int32) -> Int {
        let lines = (Self.text("/proc/\(process)/status") ?? "").split(separator: "\n")
        let line = lines.first { $0.hasPrefix(name + ":") } ?? ""
        // "RssAnon:        1234 kB"
        return line.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 * 1024 } ?? 0
    }

    private static func text(_ path: String) -> String? { try? String(contentsOfFile: path, encoding: .utf8) }
}

/// The largest number of descriptors that a process may have.
func descriptorLimit() -> Int {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return Int(clamping: limit.rlim_max)
}

/// Raises the descriptor limit of this process and its children to the hard limit.
func raiseDescriptorLimit() {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}
