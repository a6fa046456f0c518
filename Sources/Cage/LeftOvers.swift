import CCage
import FoundationEssentials
import Glibc

/// Finds and kills the processes of cages whose launcher is gone.
///
/// A launcher kills its descendants at its end, and when its worker dies. If the launcher itself is killed, its children end
/// with it. Without a process namespace, their children do not: they get another parent. This process asks to be that parent
/// (``adoptOrphans()``), and ``kill(account:)`` ends them.
///
/// A process of a cage is known by marks that it cannot take off: no new privileges, a filter of system calls where the
/// kernel has them, a hard limit of 1 or 0 bytes for core dumps, and one of 0 for message queues.
public enum LeftOvers {
    /// Makes this process the parent of its descendants whose parent has died: prctl(2), PR_SET_CHILD_SUBREAPER.
    public static func adoptOrphans() { _ = cage_adopt_orphans() }

    /// Kills every process that is in a cage and has no launcher above it.
    ///
    /// It finds the processes of this user and, for root, of the account of stages.
    ///
    /// - Parameter account: The account of stages, or nil for the user of this process.
    /// - Returns: The number of processes that got a signal.
    @discardableResult
    public static func kill(account: CageAccount?) -> Int {
        let own = account?.user ?? UInt32(geteuid())
        var count = 0
        for process in all() where process.user == own && process.isCaged {
            if hasLauncher(process) { continue }
            guard process.isStillTheSame else { continue }
            if Glibc.kill(process.number, SIGKILL) == 0 { count += 1 }
        }
        reap()
        return count
    }

    /// Collects the adopted processes that have ended.
    ///
    /// The children that this process has started itself are waited for by those who started them. Adopted ones are zombies
    /// with the marks of a cage.
    private static func reap() {
        for process in all() where process.parent == getpid() && process.isZombie && process.isCaged {
            var status: Int32 = 0
            _ = unsafe waitpid(process.number, &status, WNOHANG)
        }
    }

    /// True if a launcher stands above a process.
    ///
    /// A process of a cage that looks like a launcher is none. A parent that cannot be read has just ended, or this process
    /// has no descriptor left: the next look decides.
    private static func hasLauncher(_ process: Process) -> Bool {
        var present = process
        // Parents form no circle, but they are not read at one moment.
        for _ in 0..<1_000 where present.parent > 0 {
            guard let parent = Process(present.parent) else { return true }
            if parent.isLauncher, !parent.isCaged { return true }
            present = parent
        }
        return false
    }

    private static func all() -> [Process] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.compactMap { pid_t($0).flatMap(Process.init) }
    }

    /// What `/proc` tells about a process.
    private struct Process {
        let number: pid_t
        let parent: pid_t
        let user: UInt32
        let isZombie: Bool
        private let hasNoNewPrivileges: Bool
        /// When the process started, in ticks since the start of the machine.
        private let start: Substring

        init?(_ number: pid_t) {
            guard let status = Self.read("/proc/\(number)/status"), let stat = Self.read("/proc/\(number)/stat"),
                let parent = Self.field("PPid", of: status).flatMap({ pid_t($0) }),
                let user = Self.field("Uid", of: status)?.split(separator: "\t").first.flatMap({ UInt32($0) }),
                let start = Self.start(in: stat)
            else { return nil }
            self.number = number
            self.parent = parent
            self.user = user
            self.start = start
            isZombie = Self.field("State", of: status)?.hasPrefix("Z") == true
            hasNoNewPrivileges = Self.field("NoNewPrivs", of: status) == "1"
        }

        /// True if the process has the marks of a cage.
        var isCaged: Bool {
            guard hasNoNewPrivileges, let limits = Self.read("/proc/\(number)/limits") else { return false }
            // A worker without core dumps hands its limit of 0 on.
            return [("Max core file size", ["0", "1"]), ("Max msgqueue size", ["0"])].allSatisfy { name, marks in
                guard let line = limits.split(separator: "\n").first(where: { $0.hasPrefix(name) }) else {
                    return false
                }
                let values = line.dropFirst(name.count).split(separator: " ").prefix(2)
                return values.count == 2 && values.allSatisfy { marks.contains(String($0)) }
            }
        }

        /// True if the process is a launcher, or cannot be read.
        var isLauncher: Bool {
            guard let words = Self.read("/proc/\(number)/cmdline") else { return true }
            return words.split(separator: "\0").contains { $0 == CAGE_LAUNCHER }
        }

        /// False if the process has ended and another one has got its number.
        var isStillTheSame: Bool { Self.read("/proc/\(number)/stat").flatMap(Self.start) == start }

        private static func read(_ path: String) -> String? {
            FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
        }

        private static func field(_ name: String, of status: String) -> String? {
            status.split(separator: "\n").first { $0.hasPrefix("\(name):\t") }.map {
                String($0.dropFirst(name.count + 2))
            }
        }

        /// The 22nd field.
        ///
        /// The second one, the name in parentheses, may have blanks.
        private static func start(in stat: String) -> Substring? {
            let fields = stat.split(separator: ")").last?.split(separator: " ") ?? []
            return fields.count > 19 ? fields[19] : nil
        }
    }
}
