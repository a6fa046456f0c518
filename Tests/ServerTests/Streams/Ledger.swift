import Domain
import Foundation
import LocalPostgres
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import Synchronization
import TestSupport
import Testing

/// The size of the test.
struct LedgerScale: Sendable {
    var clients = 120
    var sessions = 30
    var changesPerSecond = 150
    var duration = Duration.seconds(6)

    /// `LEDGER=full` in the environment sets the size of a large clinic.
    static var chosen: LedgerScale {
        ProcessInfo.processInfo.environment["LEDGER"] == "full"
            ? LedgerScale(clients: 2000, sessions: 500, changesPerSecond: 1000, duration: .seconds(60))
            : LedgerScale()
    }
}

/// One connection of one client: the version that it resumed from, and every state that it received.
struct LedgerEntry: Sendable {
    var session: SessionID
    var after: Int?
    var events: [(version: Int, status: String)] = []
}

/// The transitions that were committed, by session, in the order of their versions.
struct LedgerTransitions {
    private(set) var bySession: [SessionID: [(version: Int, status: String)]] = [:]

    init(_ database: TestDatabase) async throws {
        for row in try await database.query(
            "SELECT session_id, version, status FROM app.session_events ORDER BY session_id, version")
        {
            let session = SessionID(rawValue: try row.decode("session_id"))
            bySession[session, default: []].append(
                (Int(try row.decode("version", as: Int64.self)), try row.decode("status")))
        }
    }

    subscript(session: SessionID) -> [(version: Int, status: String)]? { bySession[session] }
}

/// The faults of a ledger test.
enum LedgerFaults {
    /// Kills the listener's connection, crashes PostgreSQL, and kills the listener's connection again.
    ///
    /// A server without a listener meets the crash alone. The sleeps spread the faults over the time of the writes.
    static func inject(over duration: Duration, into database: TestDatabase, _ source: HintSource) async throws {
        try await Task.sleep(for: duration * 0.2)
        if source == .notify { try await killListener(of: database) }
        try await Task.sleep(for: duration * 0.2)
        try await database.cluster.stop(mode: .immediate)
        try await database.cluster.start()
        try await Task.sleep(for: duration * 0.3)
        guard source == .notify else { return }
        try await eventually("the listener is connected and then killed") { try await killListener(of: database) }
    }

    @discardableResult
    private static func killListener(of database: TestDatabase) async throws -> Bool {
        try await !database.query(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = 'therapybridge listener' AND datname = \(database.name)
            """
        ).isEmpty
    }
}

/// Writes to sessions as pipelines do, and in the end brings them to their end.
///
/// Each step starts from the state in the database, so a write with an unknown outcome does no harm.
struct LedgerWriter {
    let database: TestDatabase
    let sessions: [SessionID]
    /// The time between two writes.
    let pace: Duration

    func write(until end: ContinuousClock.Instant) async throws {
        while ContinuousClock.now < end {
            do {
                try await database.withConnection { connection in
                    var next = ContinuousClock.now
                    while ContinuousClock.now < end, let session = sessions.randomElement() {
                        try await step(session, connection, isLast: false)
                        next += pace
                        try await Task.sleep(until: next)
                    }
                }
            } catch let error as PostgresError where error.isTransient {
                // The test has stopped PostgreSQL.
                try await Task.sleep(for: .milliseconds(50))
            }
        }
    }

    func finish() async throws {
        try await database.withConnection { connection in
            for session in sessions {
                while try await step(session, connection, isLast: true) != "processed" {}
            }
        }
    }

    /// Writes the next step of a session.
    ///
    /// - Returns: The status before the step.
    @discardableResult
    private func step(_ session: SessionID, _ connection: PostgresConnection, isLast: Bool) async throws -> String {
        let row = try await connection.query(
            "SELECT status, progress FROM app.session_progress WHERE session_id = \(session.rawValue)")[0]
        let status = try row.decode("status", as: String.self)
        let progress = Int32(try row.decode("progress", as: Int16.self))
        switch status {
        case "pending": try await report("transcribing", 20)
        case "transcribing" where !isLast && progress < 58: try await report(status, progress + 1)
        case "transcribing": try await report("transcribed", 60)
        case "transcribed" where !isLast: try await report("extracting_notes", 62)
        case "extracting_notes" where !isLast && progress < 70: try await report(status, progress + 1)
        case "transcribed",
            "extracting_notes" where isLast:
            try await report("processed", 100)
        case "processed": break
        default:
            // Every client must get both transitions.
            try await connection.failAndRetry(session, error: "Try again")
        }
        return status

        func report(_ status: String, _ progress: Int32) async throws {
            _ = try await connection.query("SELECT app.report_progress(\(session.rawValue), \(status), \(progress))")
        }
    }
}

/// A client that connects and disconnects, sometimes resumes, and finally stays until the session is processed.
struct LedgerClient {
    let server: TestServer
    let session: SessionID
    let token: String
    let isEnding: Atomic<Bool>.Reference

    /// - Returns: Every connection of the client.
    func watch() async throws -> [LedgerEntry] {
        var entries: [LedgerEntry] = []
        while entries.last?.events.last?.status != "processed" {
            let last = entries.last?.events.last?.version
            var entry = LedgerEntry(session: session, after: Bool.random() ? last : nil)
            let query = entry.after.map { "?last_event_id=\($0)" } ?? ""
            let enough = Int.random(in: 1...60)
            try await server.withStream("/api/sessions/\(session)/status/stream\(query)", token: token) { reader in
                while isEnding.value || entry.events.count < enough, let event = try await reader.next() {
                    guard event.id != nil, let version = event.version else { continue }
                    entry.events.append((version, event.status ?? ""))
                }
            }
            // The server was unavailable, or the client had the end already.
            if entry.events.isEmpty {
                if entry.after != nil, isEnding.value, try await isDone() { break }
                try await Task.sleep(for: .milliseconds(50))
            } else {
                entries.append(entry)
            }
        }
        return entries
    }

    private func isDone() async throws -> Bool {
        let response = try await server.request(.GET, "/api/sessions/\(session)/status", token: token)
        return try response.json()["status"] as? String == "processed"
    }
}

extension Atomic<Bool> {
    /// A flag that tasks share.
    final class Reference: Sendable {
        private let flag = Atomic<Bool>(false)
        var value: Bool { flag.load(ordering: .acquiring) }
        func set() { flag.store(true, ordering: .releasing) }
    }
}
