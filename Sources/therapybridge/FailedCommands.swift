import App
import ArgumentParser
import Domain

struct Failed: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the failed sessions, the newest first. Connects to DATABASE_MIGRATE_URL.",
        discussion:
            "Each line has, separated by tabs: the session, the time of the failure, the attempt and the reason.")

    @Option(help: "Only sessions that failed at this time or later, as in 2026-11-22T09:30:00Z or 2026-11-22.")
    var since: String?

    func validate() throws { _ = try since.map(time) }

    func run() async throws {
        for failed in try await Operations(logger: startLogging()).failedSessions(since: try since.map(time)) {
            print("\(failed.session)\t\(failed.failedAt)\t\(failed.attempt)\t\(failed.reason)")
        }
    }
}

struct Retry: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Process failed sessions again, and print their ids. Connects to DATABASE_MIGRATE_URL.",
        discussion: """
            A session without its recording stays failed. Without --reason, so does a session that a person has cancelled.
            """)

    @Option(help: "Only sessions that failed at this time or later, as in 2026-11-22T09:30:00Z or 2026-11-22.")
    var since: String
    @Option(help: "Only sessions whose reason has these words in it, in any case.")
    var reason: String?

    func validate() throws { _ = try time(since) }

    func run() async throws {
        let operations = try Operations(logger: startLogging())
        for session in try await operations.retryFailedSessions(since: try time(since), reason: reason) {
            print(session)
        }
    }
}

/// Reads the value of `--since`.
private func time(_ text: String) throws -> Timestamp {
    guard let time = Timestamp(rfc3339: text) else {
        throw ValidationError("--since has to be a time as in 2026-11-22T09:30:00Z.")
    }
    return time
}
