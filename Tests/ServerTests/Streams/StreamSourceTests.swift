import Domain
import LocalPostgres
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// docs/streams.md, "Delivery times": a committed change arrives by NOTIFY or by the poll, and nothing else arrives.
@Suite(.deadline) struct StreamSourceTests {
    /// The next poll comes after the end of every test.
    ///
    /// The read after each opening is made within 0.6 s, and a heartbeat shows 3 s of silence: what comes later came by
    /// NOTIFY.
    private static let notifyAlone = ["SSE_UPDATE_INTERVAL": "3600", "SSE_HEARTBEAT_INTERVAL": "3"]

    @Test("A change by psql arrives by NOTIFY")
    func psql() async throws {
        try await withStreamScene(Self.notifyAlone) { scene in
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                try await reader.heartbeat()
                let run = try await scene.database.psql(
                    "-c",
                    "UPDATE app.session_progress SET status = 'transcribing' WHERE session_id = '\(scene.session)'")
                #expect(run.status == 0)
                let event = try await reader.next("progress")
                #expect(event.status == "transcribing")
                #expect(event.version == 2)
            }
        }
    }

    @Test("A percentage whose notification is suppressed arrives without the poll")
    func unannouncedPercentage() async throws {
        try await withStreamScene(["SSE_UPDATE_INTERVAL": "3600"]) { scene in
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                for attempt in 1...3 {
                    try await scene.report(.transcribing, 20)
                    _ = try await reader.next("progress")
                    for progress in 30...40 {
                        let version = try await scene.report(.transcribing, progress)
                        _ = try await reader.events(upTo: version)
                    }
                    guard attempt < 3 else { break }
                    try await failAndRetry(scene, reader)
                }
            }
        }
    }

    private func failAndRetry(_ scene: StreamScene, _ reader: EventReader) async throws {
        try await scene.database.failAndRetry(scene.session)
        #expect(try await reader.next("progress").status == "failed")
        #expect(try await reader.next("progress").status == "pending")
    }

    @Test("A server without LISTEN has no listener's connection and no listener's metric, and sends each change")
    func pollAlone() async throws {
        try await withStreamScene(HintSource.poll.settings(interval: 2)) { scene in
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                let listeners = try await scene.database.query(
                    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ 'listener'")
                #expect(listeners.isEmpty)
                #expect(!scene.server.metrics.contains("\ntherapybridge_listener_live "))
                let version = try await scene.report(.transcribing, 30)
                #expect(try await reader.next("progress").version == Int(version))
                #expect(try await scene.server.request(.GET, "/health/ready").status == 200)
            }
        }
    }

    @Test("A change is not sent before its commit")
    func uncommitted() async throws {
        try await withStreamScene(["SSE_UPDATE_INTERVAL": "0.05", "SSE_HEARTBEAT_INTERVAL": "0.5"]) { scene in
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                try await scene.database.withConnection { connection in
                    try await connection.executeScript("BEGIN; \(report(scene, "transcribing", 30))")
                    try await notify(scene, version: 2)
                    // Ten polls, and a read for the early hint.
                    try await reader.heartbeat()
                    try await connection.executeScript("COMMIT")
                    let event = try await reader.next("progress")
                    #expect(event.version == 2)
                    #expect(event.progress == 30)
                }
            }
        }
    }

    @Test("A change that is rolled back is never sent")
    func rolledBack() async throws {
        try await withStreamScene(["SSE_UPDATE_INTERVAL": "0.05", "SSE_HEARTBEAT_INTERVAL": "0.5"]) { scene in
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                try await scene.database.withConnection { connection in
                    try await connection.executeScript(
                        """
                        BEGIN; \(report(scene, "transcribing", 30))
                        SAVEPOINT s; \(report(scene, "failed", 30)) ROLLBACK TO s;
                        """)
                    try await reader.heartbeat()
                    try await connection.executeScript("ROLLBACK")
                    try await reader.heartbeat()
                    try await connection.executeScript(
                        """
                        BEGIN; SAVEPOINT s; \(report(scene, "failed", 30)) ROLLBACK TO s;
                        \(report(scene, "preprocessing", 10)) COMMIT;
                        """)
                }
                let event = try await reader.next("progress")
                #expect(event.version == 2)
                #expect(event.status == "preprocessing")
            }
        }
    }

    @Test("Forged notifications are never passed on and disturb no stream")
    func forgedNotifications() async throws {
        try await withStreamScene(Self.notifyAlone) { scene in
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                let payloads = [
                    "", "work", "rights 99999", "\(scene.session) 99", "\(scene.session) 0", "\(scene.session) -1",
                    "\(SessionID.random()) 5", "data: {}\n\nevent: complete", String(repeating: "x", count: 7999),
                ]
                try await scene.database.withConnection(as: "therapybridge_pipeline") { connection in
                    for payload in payloads {
                        _ = try await connection.query("SELECT pg_notify('tb_session_v1', \(payload))")
                    }
                    // More than the listener buffers.
                    _ = try await connection.query(
                        "SELECT pg_notify('tb_session_v1', gen_random_uuid() || ' 7') FROM generate_series(1, 20000)")
                }
                try await reader.heartbeat()
                try await scene.report(.transcribing, 20)
                let event = try await reader.next("progress")
                #expect(event.version == 2)
            }
        }
    }

    private func report(_ scene: StreamScene, _ status: String, _ progress: Int) -> String {
        "SELECT app.report_progress('\(scene.session)', '\(status)', \(progress));"
    }

    private func notify(_ scene: StreamScene, version: Int) async throws {
        try await scene.database.query("SELECT pg_notify('tb_session_v1', \("\(scene.session) \(version)"))")
    }
}
