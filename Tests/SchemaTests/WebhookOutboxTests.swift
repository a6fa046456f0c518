import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The outbox of webhooks: what fills it, who claims it, and who may read it.
@Suite(.deadline) struct WebhookOutboxTests {
    /// One delivery of the outbox.
    private struct Row: Equatable, CustomStringConvertible {
        var webhook: WebhookID
        var status: String
        var version: Int64
        var attempt: Int32
        var description: String { "\(status) \(version) \(attempt)" }
    }

    private func rows(_ connection: PostgresConnection) async throws -> [Row] {
        try await connection.query(
            "SELECT webhook_id, status, version, attempt FROM app.webhook_deliveries ORDER BY version, webhook_id"
        ).map {
            Row(
                webhook: try $0.decode("webhook_id", as: WebhookID.self),
                status: try $0.decode("status", as: String.self),
                version: try $0.decode("version", as: Int64.self), attempt: try $0.decode("attempt", as: Int32.self))
        }
    }

    /// Makes the outbox of the server's role, over a pool.
    private func withOutbox(
        _ database: TestDatabase, _ body: @escaping @Sendable (WebhookOutbox) async throws -> Void
    ) async throws {
        let pool = try PostgresPool(
            configuration: try PostgresConfiguration.forTests(database.url("therapybridge_server")),
            settings: .init(size: 2))
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await pool.run() }
            try await body(WebhookOutbox(pool: pool))
            group.cancelAll()
        }
    }

    @Test("Each transition adds a delivery for each active endpoint that wants its type, and a percentage adds none")
    func fills() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let all = try await connection.addWebhook()
                let some = try await connection.addWebhook(events: ["session.transcribed", "session.failed"])
                _ = try await connection.addWebhook(isActive: false)
                let session = try await connection.addSession(recording: "key")
                try await connection.report(Report("transcribing", 20), session)
                try await connection.report(Report("transcribing", 40), session)
                try await connection.report(Report("transcribing", 40), session)
                try await connection.report(Report("transcribed", 60), session)
                let found = try await rows(connection)
                #expect(
                    found.map(\.description) == ["pending 1 1", "transcribing 2 1"] + [
                        "transcribed 4 1", "transcribed 4 1",
                    ])
                #expect(found.prefix(2).allSatisfy { $0.webhook == all })
                #expect(Set(found.suffix(2).map(\.webhook)) == [all, some])
                let times = try await connection.query(
                    """
                    SELECT FROM app.webhook_deliveries d JOIN app.session_events e
                        ON (e.session_id, e.version, e.at) = (d.session_id, d.version, d.at)
                    """)
                #expect(times.count == 4)
            }
        }
    }

    @Test("A retry and a takeover are told with their attempt")
    func attempts() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(in: .failed, recording: "key")
                _ = try await connection.addWebhook()
                _ = try await connection.query("SELECT app.retry_session(\(session))")
                #expect(try await rows(connection).map(\.description) == ["pending 3 2"])
                try await connection.report(Report("transcribing", 20), session)
                _ = try await connection.query(
                    "UPDATE app.session_progress SET attempt = attempt + 1 WHERE session_id = \(session)")
                #expect(try await rows(connection).last?.description == "transcribing 5 3")
            }
        }
    }

    @Test("A batch of reports fills the outbox like single reports, with one notification")
    func batch() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                _ = try await connection.addWebhook(events: ["session.transcribing"])
                let sessions = [try await connection.addSession(), try await connection.addSession()]
                try await connection.executeScript("BEGIN")
                for session in sessions { try await connection.report(Report("transcribing", 20), session) }
                try await connection.executeScript("COMMIT")
                #expect(try await rows(connection).count == 2)
            }
        }
    }

    @Test("A transition that is rolled back leaves no delivery")
    func rollback() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                _ = try await connection.addWebhook(events: ["session.transcribing"])
                let session = try await connection.addSession()
                try await connection.executeScript("BEGIN")
                try await connection.report(Report("transcribing", 20), session)
                #expect(try await rows(connection).count == 1)
                try await connection.executeScript("ROLLBACK")
                #expect(try await rows(connection) == [])
            }
        }
    }

    @Test("A delivery outlives its session, and holds ids and numbers alone")
    func deletion() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                _ = try await connection.addWebhook()
                let session = try await connection.addSession(recording: "key")
                try await connection.report(Report("transcribing", 20, message: "Private words"), session)
                _ = try await connection.query("DELETE FROM app.therapy_sessions WHERE id = \(session)")
                let texts = try await connection.query("SELECT d::text AS text FROM app.webhook_deliveries d")
                #expect(texts.count == 2)
                for text in texts { #expect(try !text.decode("text", as: String.self).contains("Private")) }
                let patients = try await connection.query(
                    """
                    SELECT FROM app.webhook_deliveries d JOIN app.users u
                        ON position(u.id::text IN d::text) > 0 OR position(u.full_name IN d::text) > 0
                    """)
                #expect(patients.isEmpty)
            }
        }
    }

    @Test("Two servers share the outbox, and an endpoint gets as many deliveries at once as it has lanes")
    func claims() async throws {
        try await withDatabase { database in
            let (one, two) = try await database.withConnection { connection in
                let webhooks = (try await connection.addWebhook(), try await connection.addWebhook())
                for _ in 0..<10 { _ = try await connection.addSession() }
                return webhooks
            }
            try await withOutbox(database) { outbox in
                let first = try await outbox.claim(busy: [:], lanes: 4, lease: .seconds(60))
                #expect(first.filter { $0.webhook == one }.count == 4)
                #expect(first.filter { $0.webhook == two }.count == 4)
                let second = try await outbox.claim(busy: [one: 3, two: 9], lanes: 4, lease: .seconds(60))
                #expect(second.map(\.webhook) == [one])
                let rest = try await outbox.claim(busy: [:], lanes: 100, lease: .seconds(60))
                #expect(rest.count == 20 - 8 - 1)
                #expect(Set((first + second + rest).map(\.id)).count == 20)
                #expect(try await outbox.claim(busy: [:], lanes: 100, lease: .seconds(60)).isEmpty)
                // Not due, not claimed, and due: what waits is due in the future only after a failure.
                #expect(try await outbox.pause() == nil)
            }
        }
    }

    @Test("A claim that waits for a lock of another server's claim passes it over")
    func skipped() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                _ = try await connection.addWebhook()
                _ = try await connection.addSession()
                _ = try await connection.addSession()
                try await connection.executeScript("BEGIN")
                _ = try await connection.query("SELECT FROM app.claim_webhook_deliveries('{}', '{}', 1, '60 s')")
                try await withOutbox(database) { outbox in
                    let others = try await outbox.claim(busy: [:], lanes: 9, lease: .seconds(60))
                    #expect(others.count == 1)
                }
                try await connection.executeScript("COMMIT")
            }
        }
    }

    @Test("When a claim lapses, another server gets the delivery under the same id, and the late result is not stored")
    func lapse() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                _ = try await connection.addWebhook()
                _ = try await connection.addSession()
            }
            try await withOutbox(database) { outbox in
                let dead = try #require(try await outbox.claim(busy: [:], lanes: 4, lease: .seconds(60)).first)
                #expect(try await outbox.claim(busy: [:], lanes: 4, lease: .seconds(60)).isEmpty)
                try await database.query("UPDATE app.webhook_deliveries SET leased_until = now() - interval '1 s'")
                let next = try #require(try await outbox.claim(busy: [:], lanes: 4, lease: .seconds(60)).first)
                #expect(next.id == dead.id)
                #expect(next.lease != dead.lease)
                let success = DeliveryResult(status: 200, failure: nil, delay: nil)
                #expect(try await outbox.finish(dead, success) == false)
                #expect(try await outbox.finish(next, success) == true)
                #expect(try await outbox.finish(next, success) == false)
            }
        }
    }

    @Test("A failed delivery is due after its pause, a given one never again, and a released one at once")
    func results() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                _ = try await connection.addWebhook()
                for _ in 0..<3 { _ = try await connection.addSession() }
            }
            try await withOutbox(database) { outbox in
                let claimed = try await outbox.claim(busy: [:], lanes: 9, lease: .seconds(60))
                try #require(claimed.count == 3)
                _ = try await outbox.finish(
                    claimed[0], DeliveryResult(status: 500, failure: .status, delay: .seconds(300)))
                _ = try await outbox.finish(claimed[1], DeliveryResult(status: 204, failure: nil, delay: nil))
                #expect(try await outbox.backlog().pending == 2)
                let pause = try #require(try await outbox.pause())
                #expect(pause > .seconds(200) && pause <= .seconds(300))
                try await outbox.release([claimed[2]])
                let again = try await outbox.claim(busy: [:], lanes: 9, lease: .seconds(60))
                #expect(again.map(\.id) == [claimed[2].id])
                #expect(again.map(\.tries) == [0])
                try await database.query("UPDATE app.webhook_deliveries SET next_at = now() WHERE next_at IS NOT NULL")
                let due = try await outbox.claim(busy: [:], lanes: 9, lease: .seconds(60))
                #expect(due.map(\.id) == [claimed[0].id])
                #expect(due.map(\.tries) == [1])
            }
        }
    }

    @Test("410 deactivates the endpoint, whose deliveries then wait until it is active again")
    func gone() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                _ = try await connection.addWebhook()
                for _ in 0..<2 { _ = try await connection.addSession() }
            }
            try await withOutbox(database) { outbox in
                let claimed = try #require(try await outbox.claim(busy: [:], lanes: 1, lease: .seconds(60)).first)
                _ = try await outbox.finish(claimed, DeliveryResult(status: 410, failure: .gone, delay: nil))
                #expect(try await outbox.claim(busy: [:], lanes: 9, lease: .seconds(60)).isEmpty)
                #expect(try await outbox.backlog().pending == 0)
                let row = try await database.query("SELECT is_active, disabled_reason FROM app.webhooks")[0]
                #expect(try row.decode("is_active", as: Bool.self) == false)
                #expect(try row.decode("disabled_reason", as: String.self) == "gone")
                try await database.query("UPDATE app.webhooks SET is_active = true")
                #expect(try await outbox.claim(busy: [:], lanes: 9, lease: .seconds(60)).count == 1)
            }
        }
    }

    @Test("Deliveries keep their last 20 attempts")
    func history() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                _ = try await connection.addWebhook()
                _ = try await connection.addSession()
            }
            try await withOutbox(database) { outbox in
                for status in 1...25 {
                    let claimed = try #require(try await outbox.claim(busy: [:], lanes: 1, lease: .seconds(60)).first)
                    let failure: WebhookFailure? = status == 25 ? nil : .status
                    _ = try await outbox.finish(
                        claimed, DeliveryResult(status: failure == nil ? nil : status, failure: failure, delay: .zero))
                }
                let row = try await database.query(
                    "SELECT attempt_statuses, attempt_errors, cardinality(attempt_times) AS times FROM app.webhook_deliveries"
                )[0]
                #expect(try row.decode("attempt_statuses", as: [Int32?].self) == (6...24).map { $0 } + [nil])
                #expect(
                    try row.decode("attempt_errors", as: [String?].self)
                        == Array(repeating: "status", count: 19) + [nil])
                #expect(try row.decode("times", as: Int32.self) == 20)
            }
        }
    }

    @Test("Old deliveries and those of deleted endpoints are removed, and former secrets forgotten")
    func removal() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let kept = try await connection.addWebhook()
                let deleted = try await connection.addWebhook()
                for _ in 0..<3 { _ = try await connection.addSession() }
                _ = try await connection.query("DELETE FROM app.webhooks WHERE id = \(deleted)")
                _ = try await connection.query(
                    """
                    UPDATE app.webhook_deliveries SET created_at = now() - interval '169 hours'
                    WHERE id = (SELECT id FROM app.webhook_deliveries WHERE webhook_id = \(kept) LIMIT 1)
                    """)
                _ = try await connection.query(
                    "UPDATE app.webhooks SET previous_secret = secret, previous_until = now() - interval '1 s'")
                try await withOutbox(database) { try await $0.deleteOld() }
                #expect(try await rows(connection).map(\.webhook) == [kept, kept])
                #expect(try await connection.query("SELECT FROM app.webhooks WHERE previous_secret IS NULL").count == 1)
            }
        }
    }

    @Test("A removal of many deliveries goes in batches to its end")
    func batches() async throws {
        try await withDatabase { database in
            try await database.query(
                """
                INSERT INTO app.webhook_deliveries (webhook_id, session_id, version, attempt, status, at)
                SELECT gen_random_uuid(), gen_random_uuid(), 1, 1, 'failed', now() FROM generate_series(1, 40)
                """)
            let deleted = try await database.query("SELECT app.delete_old_webhook_deliveries('7 days', 30) AS deleted")
            #expect(try deleted[0].decode("deleted", as: Int64.self) == 30)
            try await withOutbox(database) { try await $0.deleteOld() }
            #expect(try await database.withConnection { try await rows($0) } == [])
        }
    }

    @Test(
        "No role but the owner reads a secret, and the server writes the outbox by functions alone",
        arguments: ["therapybridge_server", "therapybridge_pipeline"])
    func grants(role: String) async throws {
        try await withDatabase { database in
            try await database.withConnection(as: role) { connection async throws in
                for statement in [
                    "SELECT secret FROM app.webhooks", "SELECT previous_secret FROM app.webhooks",
                    "SELECT * FROM app.webhooks", "UPDATE app.webhooks SET url = 'https://a'",
                    "INSERT INTO app.webhooks (url, secret) VALUES ('https://a', '\\x00')", "TRUNCATE app.webhooks",
                    "SELECT lease FROM app.webhook_deliveries", "DELETE FROM app.webhook_deliveries",
                    "UPDATE app.webhook_deliveries SET next_at = NULL", "SELECT app.enqueue_webhooks()",
                    "INSERT INTO app.webhook_deliveries (webhook_id) VALUES (gen_random_uuid())",
                ] {
                    #expect(
                        try await connection.refusal(
                            of: PostgresQuery(unescaped: statement, bindings: PostgresBindings()))
                            == .insufficientPrivilege, "\(statement)")
                }
                if role == "therapybridge_server" {
                    // Without an acting user, there is no endpoint, and none can be added or changed.
                    #expect(try await connection.query("SELECT id FROM app.webhooks").isEmpty)
                    #expect(try await connection.query("SELECT id FROM app.webhook_deliveries").isEmpty)
                    #expect(
                        try await connection.refusal(of: "SELECT app.add_webhook('https://a', NULL, '\\x00')")
                            == .insufficientPrivilege)
                } else {
                    #expect(try await connection.refusal(of: "SELECT app.webhook_pause()") == .insufficientPrivilege)
                }
            }
        }
    }

    @Test("The claim and the list of an endpoint use the indexes, among many deliveries")
    func plans() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let webhook = try await connection.addWebhook()
                _ = try await connection.query(
                    """
                    INSERT INTO app.webhook_deliveries (webhook_id, session_id, version, attempt, status, at, next_at)
                    SELECT \(webhook), gen_random_uuid(), 1, 1, 'failed', now(), CASE WHEN i % 1000 = 0 THEN now() END
                    FROM generate_series(1, 20000) AS i
                    """)
                try await connection.executeScript("ANALYZE app.webhook_deliveries")
                let before = try await Self.scans(connection)
                _ = try await connection.query("SELECT FROM app.claim_webhook_deliveries('{}', '{}', 4, '60 s')")
                _ = try await connection.query(
                    "SELECT app.webhook_pause(), app.delete_old_webhook_deliveries('7 days', 10)")
                #expect(try await Self.scans(connection) == before)
            }
        }
    }

    /// The number of sequential scans of the outbox by this transaction's connection.
    private static func scans(_ connection: PostgresConnection) async throws -> Int64 {
        _ = try await connection.query("SELECT pg_stat_force_next_flush()")
        return try await connection.query(
            "SELECT seq_scan FROM pg_stat_user_tables WHERE relid = 'app.webhook_deliveries'::regclass"
        )[0].decode("seq_scan", as: Int64.self)
    }
}

extension PostgresConnection {
    /// Adds an endpoint.
    fileprivate func addWebhook(events: [String]? = nil, isActive: Bool = true) async throws -> WebhookID {
        try await query(
            """
            INSERT INTO app.webhooks (url, events, secret, is_active)
            VALUES ('https://hooks.example/', \(events), decode(repeat('01', 32), 'hex'), \(isActive)) RETURNING id
            """
        )[0].decode("id", as: WebhookID.self)
    }
}
