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

/// Several servers, and servers and databases that end in the middle of a delivery.
@Suite(.deadline) struct WebhookServerTests {
    @Test("Two servers share the outbox, and each delivery is made once")
    func twoServers() async throws {
        try await WebhookReceiver.with { receiver in
            try await withDatabase { database in
                try await withServer(over: database, privateTargets) { first in
                    try await withServer(over: database, privateTargets) { _ in
                        let scene = try await WebhookScene(first)
                        _ = try await scene.add("http://127.0.0.1:\(receiver.port)/", events: ["session.transcribing"])
                        for _ in 0..<40 {
                            try await database.report(try await scene.addSession(), .transcribing, 20)
                        }
                        let got = try await receiver.next(40)
                        #expect(Set(got.map(\.id)).count == 40)
                        try await eventually("all results are stored") {
                            try await database.query("SELECT FROM app.webhook_deliveries WHERE next_at IS NOT NULL")
                                .isEmpty
                        }
                        #expect(receiver.deliveries.count == 40)
                    }
                }
            }
        }
    }

    @Test("A server that is killed in the middle leaves the delivery to the next one, which sends it under the same id")
    func killed() async throws {
        try await WebhookReceiver.with(answer: { _, index in index == 0 ? .hang : .status(200) }) { receiver in
            try await withDatabase { database in
                // The proxies of the environment lead nowhere.
                let environment = privateTargets.merging([
                    "http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1",
                ]) {
                    $1
                }
                try await withServingProgram(over: database, environment) { server, program in
                    let scene = try await WebhookScene(server)
                    _ = try await scene.add("http://127.0.0.1:\(receiver.port)/", events: ["session.transcribing"])
                    try await database.report(try await scene.addSession(), .transcribing, 20)
                    _ = try await receiver.next()
                    try program.kill()
                }
                // Nobody waits for a minute here: the claim has lapsed.
                let lapsed = try await database.query(
                    """
                    UPDATE app.webhook_deliveries SET leased_until = now() - interval '1 s' WHERE leased_until > now()
                    RETURNING id
                    """)
                #expect(lapsed.count == 1)
                try await withServer(over: database, privateTargets) { server in
                    let again = try await receiver.next()
                    #expect(again[0].id == receiver.deliveries[0].id)
                    #expect(again[0].body == receiver.deliveries[0].body)
                    try await eventually("the result is stored") {
                        try await database.query("SELECT FROM app.webhook_deliveries WHERE next_at IS NOT NULL").isEmpty
                    }
                }
            }
        }
    }

    @Test("On SIGTERM, a server gives back what it cannot end in time, and the next one sends it at once")
    func shutdown() async throws {
        try await WebhookReceiver.with(answer: { _, index in index == 0 ? .hang : .status(200) }) { receiver in
            try await withDatabase { database in
                let environment = privateTargets.merging(["SHUTDOWN_TIMEOUT": "2"]) { $1 }
                try await withServingProgram(over: database, environment) { server, program in
                    let scene = try await WebhookScene(server)
                    _ = try await scene.add("http://127.0.0.1:\(receiver.port)/", events: ["session.transcribing"])
                    try await database.report(try await scene.addSession(), .transcribing, 20)
                    _ = try await receiver.next()
                    try program.terminate()
                    try await eventually("the claim is given back") {
                        try await database.query("SELECT FROM app.webhook_deliveries WHERE lease IS NOT NULL").isEmpty
                    }
                }
                try await withServer(over: database, privateTargets) { _ in
                    let again = try await receiver.next()
                    #expect(again[0].id == receiver.deliveries[0].id)
                }
            }
        }
    }

    @Test("A delivery that is under way at SIGTERM ends, and its result is stored")
    func drained() async throws {
        let (gate, open) = AsyncStream.makeStream(of: Void.self)
        try await WebhookReceiver.with(answer: { _, _ in
            for await _ in gate {}
            return .status(200)
        }) { receiver in
            try await withDatabase { database in
                let environment = privateTargets.merging(["SHUTDOWN_TIMEOUT": "600"]) { $1 }
                try await withServingProgram(over: database, environment) { server, program in
                    let scene = try await WebhookScene(server)
                    _ = try await scene.add("http://127.0.0.1:\(receiver.port)/", events: ["session.transcribing"])
                    try await database.report(try await scene.addSession(), .transcribing, 20)
                    _ = try await receiver.next()
                    try program.terminate()
                    // The answer comes at once: an attempt has its own time limit, which a slow machine must not reach.
                    open.finish()
                    try await eventually("the result is stored") {
                        try await database.query("SELECT FROM app.webhook_deliveries WHERE next_at IS NOT NULL").isEmpty
                    }
                }
                #expect(receiver.deliveries.count == 1)
            }
        }
    }

    @Test("A restart of the database in the middle of a delivery loses nothing")
    func databaseRestart() async throws {
        let (gate, open) = AsyncStream.makeStream(of: Void.self)
        try await WebhookReceiver.with(answer: { _, index in
            if index == 0 { for await _ in gate {} }
            return .status(200)
        }) { receiver in
            try await withOwnCluster { database in
                try await withServer(over: database, privateTargets, databaseTimeouts: .standard) { server in
                    let scene = try await WebhookScene(server)
                    let (id, _) = try await scene.add(
                        "http://127.0.0.1:\(receiver.port)/", events: ["session.transcribing"])
                    try await database.report(try await scene.addSession(), .transcribing, 20)
                    _ = try await receiver.next()
                    try await database.cluster.stop(mode: .immediate)
                    open.finish()
                    try await database.cluster.start()
                    try await eventually("the result is stored") {
                        let rows = try? await database.query(
                            "SELECT FROM app.webhook_deliveries WHERE next_at IS NULL AND cardinality(attempt_times) = 1"
                        )
                        return rows?.count == 1
                    }
                    try await database.report(try await scene.addSession(), .transcribing, 20)
                    let second = try await receiver.next()
                    #expect(second[0].id != receiver.deliveries[0].id)
                    #expect(try await scene.deliveries(id).count == 2)
                }
            }
        }
    }

    @Test("A lost notification delays a delivery, and loses none")
    func lostNotification() async throws {
        try await WebhookReceiver.with { receiver in
            try await withWebhookScene { scene in
                _ = try await scene.add("http://127.0.0.1:\(receiver.port)/", events: ["session.transcribing"])
                let session = try await scene.addSession()
                // Without the trigger that notifies, as if the notification were lost.
                try await scene.database.withConnection { connection in
                    try await connection.executeScript("SET session_replication_role = replica")
                    _ = try await connection.query(
                        """
                        INSERT INTO app.webhook_deliveries (webhook_id, session_id, version, attempt, status, at)
                        SELECT id, \(session.rawValue), 9, 1, 'transcribing', now() FROM app.webhooks
                        """)
                }
                #expect(try await receiver.next()[0].data()["version"] as? Int == 9)
            }
        }
    }
}
