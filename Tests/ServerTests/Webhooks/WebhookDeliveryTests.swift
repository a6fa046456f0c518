import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import Synchronization
import TestSupport
import Testing
import Webhooks

/// Deliveries from a transition to a receiver, over real sockets.
@Suite(.deadline) struct WebhookDeliveryTests {
    @Test("A transition reaches the receiver with ids and numbers alone, and an independent program verifies it")
    func journey() async throws {
        try await WebhookReceiver.with { receiver in
            try await withWebhookScene { scene in
                let (id, secret) = try await scene.add("http://127.0.0.1:\(receiver.port)/in")
                let session = try await scene.addSession()
                try await scene.database.report(session, .transcribing, 20, message: "Private words")
                let got = try await receiver.next(2)
                let types = try got.map { try $0.json()["type"] as? String }
                #expect(Set(types) == ["session.pending", "session.transcribing"])
                let last = try #require(try got.first { try $0.json()["type"] as? String == "session.transcribing" })
                #expect(Set(try last.json().keys) == ["type", "timestamp", "data"])
                let data = try last.data()
                #expect(Set(data.keys) == ["session_id", "status", "version", "attempt"])
                #expect(data["session_id"] as? String == session.description)
                #expect(data["status"] as? String == "transcribing")
                #expect(data["version"] as? Int == 2)
                #expect(data["attempt"] as? Int == 1)
                for delivery in got { try await expectVerified(delivery, secret: secret) }

                let attempts = try await scene.attempts(1, of: id)
                #expect(attempts[0]["status"] as? Int == 204)
                #expect(attempts[0]["error"] is NSNull)
                let items = try await scene.deliveries(id)
                #expect(Set(items.compactMap { $0["id"] as? String }) == Set(got.map(\.id)))
                #expect(items[0]["event"] as? String == "session.transcribing")
                #expect(
                    Set(items[0].keys) == ["id", "event", "attempts", "next_at", "session_id", "version", "created_at"])
            }
        }
    }

    /// Verifies a signature with Python's own HMAC.
    private func expectVerified(_ delivery: WebhookReceiver.Delivery, secret: String) async throws {
        let code = """
            import base64, hashlib, hmac, sys
            secret, id, timestamp, body = sys.stdin.read().split("\\n", 3)
            key = base64.b64decode(secret.removeprefix("whsec_"))
            mac = hmac.new(key, f"{id}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
            print("v1," + base64.b64encode(mac).decode())
            """
        let timestamp = try #require(delivery.headers.first(name: "webhook-timestamp"))
        let body = String(decoding: delivery.body, as: UTF8.self)
        let run = try await runProgram(
            "/usr/bin/python3", ["-c", code], input: [secret, delivery.id, timestamp, body].joined(separator: "\n"))
        #expect(delivery.headers["webhook-signature"] == run.lines)
        let age = try #require(Double(timestamp)) - Date().timeIntervalSince1970
        #expect(abs(age) < TestDeadline.test / .seconds(1))
    }

    @Test("A receiver that fails gets the delivery again under the same id; a retry by hand sends a given one again")
    func retries() async throws {
        try await WebhookReceiver.with(answer: { _, index in .status(index < 2 ? 503 : 200) }) { receiver in
            try await withWebhookScene { scene in
                let (id, _) = try await scene.add(
                    "http://127.0.0.1:\(receiver.port)/", events: ["session.transcribing"])
                try await scene.database.report(try await scene.addSession(), .transcribing, 20)
                let first = try await receiver.next()
                #expect(try await scene.attempts(1, of: id).map { $0["error"] as? String } == ["status"])
                let waiting = try await scene.deliveries(id)[0]
                #expect(waiting["next_at"] is String)
                try await scene.makeDue()
                let second = try await receiver.next()
                _ = try await scene.attempts(2, of: id)
                try await scene.makeDue()
                let third = try await receiver.next()
                #expect(Set((first + second + third).map(\.id)).count == 1)
                #expect(Set((first + second + third).map(\.body)).count == 1)
                let attempts = try await scene.attempts(3, of: id)
                #expect(attempts.map { $0["status"] as? Int } == [503, 503, 200])
                let delivery = try await scene.deliveries(id)[0]
                #expect(delivery["next_at"] is NSNull)

                let path = "/\(id)/deliveries/\(first[0].id)/retry"
                #expect(try await scene.request(.POST, path).status == 202)
                #expect(try await receiver.next().map(\.id) == [first[0].id])
                #expect(try await scene.attempts(4, of: id).last?["status"] as? Int == 200)
                _ = try await scene.request(.PATCH, "/\(id)", #"{"is_active":false}"#)
                expectProblem(try await scene.request(.POST, path), 409, "conflict")
            }
        }
    }

    @Test("A delivery that fails seven times is given up, and the log and the metrics say so")
    func givenUp() async throws {
        try await WebhookReceiver.with(answer: { _, _ in .status(500, body: "secret words of the receiver") }) {
            receiver in
            let log = LogMemory()
            try await withWebhookScene(log: log) { scene in
                let (id, _) = try await scene.add(
                    "http://127.0.0.1:\(receiver.port)/", events: ["session.transcribing"])
                try await scene.database.report(try await scene.addSession(), .transcribing, 20)
                for attempt in 1...7 {
                    _ = try await receiver.next()
                    _ = try await scene.attempts(attempt, of: id)
                    try await scene.makeDue()
                }
                let delivery = try await scene.deliveries(id)[0]
                #expect(delivery["next_at"] is NSNull)
                #expect(receiver.deliveries.count == 7)
                let answer = try await scene.server.request(.GET, "/metrics", token: scene.token)
                let metrics = try Scrape(answer.text)
                #expect(metrics.value("therapybridge_webhook_attempts_total", ["result": "status"]) == 7)
                #expect(metrics.value("therapybridge_webhook_deliveries_total", ["outcome": "given_up"]) == 1)
                #expect(metrics.value("therapybridge_webhook_deliveries_total", ["outcome": "delivered"]) == 0)
                #expect(log.warnings.contains { $0.contains("given up") && $0.contains(id) })
                let list = try await scene.request(.GET, "/\(id)/deliveries")
                #expect(!list.text.contains("secret words") && !log.text.contains("secret words"))
                #expect(!log.text.contains("127.0.0.1:\(receiver.port)"))
            }
        }
    }

    @Test("410 deactivates the endpoint at once")
    func gone() async throws {
        try await WebhookReceiver.with(answer: { _, _ in .status(410) }) { receiver in
            try await withWebhookScene { scene in
                let (id, _) = try await scene.add(
                    "http://127.0.0.1:\(receiver.port)/", events: ["session.transcribing"])
                try await scene.database.report(try await scene.addSession(), .transcribing, 20)
                #expect(try await scene.attempts(1, of: id).map { $0["error"] as? String } == ["gone"])
                let delivery = try await scene.deliveries(id)[0]
                #expect(delivery["next_at"] is NSNull)
                let list = try await scene.request(.GET, "")
                #expect(list.text.contains(#""disabled_reason":"gone""#) && list.text.contains(#""is_active":false"#))
                try await scene.database.report(try await scene.addSession(), .transcribing, 20)
                #expect(try await scene.deliveries(id).count == 1)
                let changed = try await scene.request(.PATCH, "/\(id)", #"{"is_active":true}"#)
                #expect(changed.text.contains(#""disabled_reason":null"#))
            }
        }
    }

    @Test("Receivers that hang, answer slowly, close or never end delay nobody else")
    func hanging() async throws {
        let answers: [WebhookReceiver.Answer] = [.hang, .bytes("HTTP/1.1 2"), .close, .endlessHead, .endlessBody(500)]
        try await withWebhookScene { scene in
            try await withThrowingTaskGroup(of: Void.self) { group in
                let (ports, port) = AsyncStream.makeStream(of: Int.self)
                let (ends, end) = AsyncStream.makeStream(of: Void.self)
                for answer in answers {
                    group.addTask {
                        try await WebhookReceiver.with(answer: { _, _ in answer }) { bad in
                            port.yield(bad.port)
                            for await _ in ends {}
                        }
                    }
                }
                for await port in ports.prefix(answers.count) {
                    _ = try await scene.add("http://127.0.0.1:\(port)/")
                }
                try await WebhookReceiver.with { good in
                    _ = try await scene.add("http://127.0.0.1:\(good.port)/", events: ["session.transcribing"])
                    // More than the lanes of the receivers that hang, whose attempts take 15 s of the server's clock.
                    for _ in 0..<20 {
                        try await scene.database.report(try await scene.addSession(), .transcribing, 20)
                    }
                    #expect(try await Set(good.next(20).map(\.id)).count == 20)
                }
                end.finish()
                try await group.waitForAll()
            }
        }
    }

    @Test("A redirect to a private address is not followed, and its delivery counts as failed")
    func redirect() async throws {
        try await WebhookReceiver.with { inner in
            try await WebhookReceiver.with(answer: { _, _ in
                .status(307, ["Location": "http://127.0.0.1:\(inner.port)/secret"])
            }) { receiver in
                try await withWebhookScene { scene in
                    let (id, _) = try await scene.add(
                        "http://127.0.0.1:\(receiver.port)/", events: ["session.transcribing"])
                    try await scene.database.report(try await scene.addSession(), .transcribing, 20)
                    let attempt = try await scene.attempts(1, of: id)[0]
                    #expect(attempt["status"] as? Int == 307)
                    #expect(attempt["error"] as? String == "redirect")
                    #expect(inner.deliveries.isEmpty)
                }
            }
        }
    }

    /// Gives one answer after another, the last one for ever.
    private final class ChangingResolver: NameResolver {
        private let answers: Mutex<[[IPAddress]]>
        init(_ answers: [[IPAddress?]]) { self.answers = Mutex(answers.map { $0.compactMap { $0 } }) }
        func addresses(of name: String) -> [IPAddress] {
            answers.withLock { $0.count > 1 ? $0.removeFirst() : $0[0] }
        }
    }

    @Test("A name is checked by the address at each delivery, also if it resolves differently the next time")
    func privateName() async throws {
        try await WebhookReceiver.with { receiver in
            var transport = WebhookTransport()
            transport.resolver = ChangingResolver([
                [IPAddress("127.0.0.1")], [IPAddress("::ffff:127.0.0.1")], [IPAddress("169.254.169.254")], [],
            ])
            try await withWebhookScene([:], transport: transport) { scene in
                let (id, _) = try await scene.add(
                    "https://hooks.example:\(receiver.port)/", events: ["session.transcribing"])
                try await scene.database.report(try await scene.addSession(), .transcribing, 20)
                for attempt in 1...4 {
                    _ = try await scene.attempts(attempt, of: id)
                    try await scene.makeDue()
                }
                let errors = try await scene.attempts(4, of: id).prefix(4).map { $0["error"] as? String }
                #expect(
                    errors == ["address_forbidden", "address_forbidden", "address_forbidden", "name_not_found"])
                #expect(receiver.deliveries.isEmpty)
            }
        }
    }

    @Test("With a setting that was turned off since, private targets get nothing more")
    func settingOff() async throws {
        try await WebhookReceiver.with { receiver in
            try await withDatabase { database in
                let id = try await withServer(over: database, privateTargets) { server in
                    try await WebhookScene(server).add(
                        "http://127.0.0.1:\(receiver.port)/", events: ["session.transcribing"]
                    ).id
                }
                try await withServer(over: database) { server in
                    let scene = try await WebhookScene(server)
                    try await database.report(try await scene.addSession(), .transcribing, 20)
                    #expect(try await scene.attempts(1, of: id).map { $0["error"] as? String } == ["url_forbidden"])
                    #expect(receiver.deliveries.isEmpty)
                }
            }
        }
    }

    @Test("After a change of the secret, both secrets verify for a day")
    func rotation() async throws {
        try await WebhookReceiver.with { receiver in
            try await withWebhookScene { scene in
                let (id, _) = try await scene.add(
                    "http://127.0.0.1:\(receiver.port)/", events: ["session.transcribing"])
                let other = WebhookSecret.random()
                _ = try await scene.request(.PATCH, "/\(id)", #"{"secret":"\#(other.text)"}"#)
                try await scene.database.report(try await scene.addSession(), .transcribing, 20)
                let signatures = try await receiver.next()[0].headers["webhook-signature"]
                #expect(signatures.first?.split(separator: " ").count == 2)
            }
        }
    }

    @Test("A session's deletion ends no delivery, and a webhook's deletion ends all of them")
    func deletion() async throws {
        try await WebhookReceiver.with(answer: { _, index in .status(index == 0 ? 500 : 200) }) { receiver in
            try await withWebhookScene { scene in
                let (id, _) = try await scene.add(
                    "http://127.0.0.1:\(receiver.port)/", events: ["session.transcribing"])
                let session = try await scene.addSession()
                try await scene.database.report(session, .transcribing, 20)
                _ = try await receiver.next()
                _ = try await scene.attempts(1, of: id)
                let path = "/api/sessions/\(session)"
                #expect(try await scene.server.request(.DELETE, path, token: scene.token).status == 204)
                try await scene.makeDue()
                #expect(try await receiver.next()[0].data()["session_id"] as? String == session.description)
                try await scene.database.report(try await scene.addSession(), .transcribing, 20)
                _ = try await receiver.next()
                #expect(try await scene.request(.DELETE, "/\(id)").status == 204)
                try await scene.makeDue()
                try await scene.database.report(try await scene.addSession(), .transcribing, 20)
                // A webhook that comes later shows that the server has looked into the outbox since.
                _ = try await scene.add("http://127.0.0.1:\(receiver.port)/late", events: ["session.failed"])
                try await scene.database.report(try await scene.addSession(), .failed, 0)
                #expect(try await receiver.next()[0].target == "/late")
            }
        }
    }
}
