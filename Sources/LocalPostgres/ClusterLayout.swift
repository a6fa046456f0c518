import FoundationEssentials
import Glibc
import TextForms

/// The paths of one cluster's files.
struct ClusterLayout {
    let directory: String
    let socketDirectory: String

    var data: String { "\(directory)/data" }
    var unfinishedData: String { "\(directory)/data.new" }
    var logFile: String { "\(directory)/server.log" }
    var passwordFile: String { "\(directory)/superuser.password" }

    /// Makes the directory, and chooses the directory of the socket.
    ///
    /// The path of a socket has at most 107 bytes (`sun_path` in unix(7)). If the path of the cluster is too long, the
    /// socket gets a directory under `/tmp`.
    static func make(directory: String, account: ServerAccount) throws -> ClusterLayout {
        do {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        } catch {
            throw LocalPostgresError(.directory, "cannot make \(directory): \(reason(errno))")
        }
        guard let resolved = realPath(directory) else {
            throw LocalPostgresError(.directory, "cannot read \(directory): \(reason(errno))")
        }
        var socketDirectory = "\(resolved)/run"
        if "\(socketDirectory)/.s.PGSQL.65535.lock".utf8.count > 100 {
            var template = Array("/tmp/tbpg-XXXXXX".utf8CString)
            guard unsafe mkdtemp(&template) != nil else {
                throw LocalPostgresError(.directory, "cannot make a directory under /tmp: \(reason(errno))")
            }
            socketDirectory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        try account.makePrivateDirectory(socketDirectory)
        return ClusterLayout(directory: resolved, socketDirectory: socketDirectory)
    }

    /// Whether the directory has a complete cluster.
    ///
    /// `initdb` writes to another directory, which is renamed at the end.
    var hasCluster: Bool { FileManager.default.fileExists(atPath: "\(data)/PG_VERSION") }

    /// The last lines of the server's log.
    func endOfLog(lines: Int = 10) -> String {
        let text = (try? String(contentsOfFile: logFile, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").suffix(lines).joined(separator: "\n")
    }

    /// Waits for a server that is stopping, and throws if a server keeps running.
    ///
    /// A killed process leaves its server behind until the supervisor stops it. A stale `postmaster.pid` does not
    /// matter here: `postgres` recognises it.
    func waitForPreviousServer() async throws {
        let started = ContinuousClock.now
        while let processID = runningServer() {
            let timeout: Duration = isStopping() ? .seconds(60) : .seconds(2)
            guard ContinuousClock.now - started < timeout else {
                throw LocalPostgresError(
                    .alreadyRunning,
                    "a PostgreSQL server (process \(processID)) already runs in \(data); stop it first")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    private func lockFileLines() -> [Substring] {
        ((try? String(contentsOfFile: "\(data)/postmaster.pid", encoding: .utf8)) ?? "")
            .split(separator: "\n", omittingEmptySubsequences: false)
    }

    /// The process that the lock file names, if it runs in this data directory.
    private func runningServer() -> pid_t? {
        guard let first = lockFileLines().first, let processID = pid_t(first), processID > 1 else { return nil }
        // The working directory of a postgres process is its data directory.
        guard let workingDirectory = realPath("/proc/\(processID)/cwd") else {
            // The link of another user's process cannot be read. EPERM says that the process exists.
            return kill(processID, 0) != 0 && errno == EPERM ? processID : nil
        }
        return workingDirectory == realPath(data) ? processID : nil
    }

    /// Line 8 of `postmaster.pid` is the postmaster's status.
    private func isStopping() -> Bool {
        lockFileLines().dropFirst(7).first?.trimmed == "stopping"
    }
}
