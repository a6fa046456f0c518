import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The routes of webhooks.
@Suite(.deadline) struct WebhookRouteTests {
    @Test("The secret is in the answer to the creation alone, and the list has everything else")
    func creation() async throws {
        try await withWebhookScene([:]) { scene in
            let answer = try await scene.request(
                .POST, "", #"{"url":"https://Hooks.example/in","events":["session.processed","session.failed"]}"#)
            #expect(answer.status == 201)
            let created = try answer.json()
            let id = try #require(created["id"] as? String)
            #expect(answer.headers["Location"] == ["/api/webhooks/\(id)"])
            #expect(answer.headers["Cache-Control"] == ["no-store"])
            let secret = try #require(created["secret"] as? String)
            #expect(WebhookSecret(text: secret)?.bytes.count == 32)
            let members = ["id", "url", "events", "is_active", "disabled_reason", "created_at"]
            #expect(Set(created.keys) == Set(members + ["secret"]))
            #expect(created["url"] as? String == "https://hooks.example/in")
            #expect(created["events"] as? [String] == ["session.processed", "session.failed"])
            #expect(created["is_active"] as? Bool == true)

            let list = try await scene.request(.GET, "")
            let items = try #require(try list.json()["items"] as? [[String: any Sendable]])
            #expect(items.count == 1)
            #expect(Set(items[0].keys) == Set(members))
            #expect(!list.text.contains(secret))
            let changed = try await scene.request(.PATCH, "/\(id)", #"{"is_active":false}"#)
            #expect(try Set(changed.json().keys) == Set(members))
        }
    }

    @Test("A given secret is used, and absent or null events are all of them")
    func givenSecret() async throws {
        try await withWebhookScene([:]) { scene in
            let secret = WebhookSecret.random()
            let answer = try await scene.request(
                .POST, "", #"{"url":"https://hooks.example","secret":"\#(secret.text)","events":null}"#)
            let json = try answer.json()
            #expect(json["secret"] as? String == secret.text)
            #expect(answer.text.contains(#""events":null"#))
            let stored = try await scene.database.query("SELECT secret FROM app.webhooks")[0]
            #expect(try Array(stored.decode("secret", as: Data.self)) == secret.bytes)
        }
    }

    @Test(
        "A body that is not valid is refused, with the name of the member",
        arguments: [
            (#"{}"#, "url"), (#"{"url":7}"#, "url"), (#"{"url":null}"#, "url"), (#"{"url":""}"#, "url"),
            (#"{"url":"http://hooks.example/"}"#, "url"), (#"{"url":"https://127.0.0.1/"}"#, "url"),
            (#"{"url":"https://[::ffff:10.0.0.1]/"}"#, "url"), (#"{"url":"https://[64:ff9b::7f00:1]/"}"#, "url"),
            (#"{"url":"https://169.254.169.254/latest/meta-data/"}"#, "url"),
            (#"{"url":"https://u:p@hooks.example/"}"#, "url"),
            (#"{"url":"https://2130706433/"}"#, "url"), (#"{"url":"https://hooks.example/#a"}"#, "url"),
            (#"{"url":"https://hooks.example/","events":[]}"#, "events"),
            (#"{"url":"https://hooks.example/","events":"session.failed"}"#, "events"),
            (#"{"url":"https://hooks.example/","events":["session.gone"]}"#, "events[0]"),
            (#"{"url":"https://hooks.example/","events":["session.failed","failed"]}"#, "events[1]"),
            (#"{"url":"https://hooks.example/","events":["session.failed","session.failed"]}"#, "events[1]"),
            (#"{"url":"https://hooks.example/","secret":"whsec_AAAA"}"#, "secret"),
            (#"{"url":"https://hooks.example/","secret":"a"}"#, "secret"),
            (#"{"url":"https://hooks.example/","sekret":"a"}"#, "sekret"),
        ])
    func invalid(body: String, field: String) async throws {
        try await withWebhookScene([:]) { scene in
            let answer = try await scene.request(.POST, "", body)
            expectProblem(answer, 422, "invalid-value", detail: "\(field): ")
            #expect(try await scene.database.query("SELECT FROM app.webhooks").isEmpty)
        }
    }

    @Test("A change keeps what it does not name; a new secret leaves the old one for a day")
    func change() async throws {
        try await withWebhookScene([:]) { scene in
            let (id, secret) = try await scene.add("https://hooks.example/a", events: ["session.failed"])
            let moved = try await scene.request(.PATCH, "/\(id)", #"{"url":"https://hooks.example/b"}"#)
            #expect(moved.status == 200)
            #expect(try moved.json()["url"] as? String == "https://hooks.example/b")
            #expect(try moved.json()["events"] as? [String] == ["session.failed"])
            #expect(try await scene.request(.PATCH, "/\(id)", #"{"events":null}"#).text.contains(#""events":null"#))
            let other = WebhookSecret.random()
            #expect(try await scene.request(.PATCH, "/\(id)", #"{"secret":"\#(other.text)"}"#).status == 200)
            let row = try await scene.database.query(
                """
                SELECT secret, previous_secret,
                       previous_until BETWEEN now() + interval '23 hours' AND now() + interval '25 hours' AS is_kept
                FROM app.webhooks
                """)[0]
            #expect(try Array(row.decode("secret", as: Data.self)) == other.bytes)
            #expect(try Array(row.decode("previous_secret", as: Data.self)) == WebhookSecret(text: secret)?.bytes)
            #expect(try row.decode("is_kept", as: Bool.self))
            for (body, field) in [
                (#"{"url":"http://hooks.example/"}"#, "url"), (#"{"url":null}"#, "url"), (#"{"events":[]}"#, "events"),
                (#"{"is_active":1}"#, "is_active"), (#"{"secret":""}"#, "secret"), (#"{"id":"a"}"#, "id"),
            ] {
                expectProblem(
                    try await scene.request(.PATCH, "/\(id)", body), 422, "invalid-value", detail: "\(field): ")
            }
            expectProblem(try await scene.request(.PATCH, "/\(id)", "{}"), 422, "invalid-value")
            let details = try await scene.database.audit("action = 'webhook.change'").map(\.detail)
            #expect(details == ["\(id): url", "\(id): events", "\(id): secret"])
        }
    }

    @Test("Lists come in pages, newest first, and refuse parameters that they do not have")
    func pages() async throws {
        try await withWebhookScene([:]) { scene in
            var ids: [String] = []
            for number in 0..<5 { ids.append(try await scene.add("https://hooks.example/\(number)").id) }
            try await scene.database.query(
                """
                INSERT INTO app.webhook_deliveries (webhook_id, session_id, version, attempt, status, at, next_at)
                SELECT \(try #require(WebhookID(ids[0])).rawValue), gen_random_uuid(), i, 1, 'processed', now(), NULL
                FROM generate_series(1, 5) AS i
                """)
            for path in ["", "/\(ids[0])/deliveries"] {
                var found: [String] = []
                var cursor: String?
                repeat {
                    let query = "?limit=2" + (cursor.map { "&cursor=\($0)" } ?? "")
                    let page = try await scene.request(.GET, path + query)
                    let items = try #require(try page.json()["items"] as? [[String: any Sendable]])
                    #expect(items.count == (found.count == 4 ? 1 : 2))
                    found += items.compactMap { $0["id"] as? String }
                    cursor = try page.json()["next_cursor"] as? String
                } while cursor != nil
                #expect(Set(found).count == 5)
                if path.isEmpty { #expect(found == ids.reversed()) }
                for query in ["?limit=0", "?limit=201", "?cursor=x", "?page=2", "?limit=1&limit=2"] {
                    expectProblem(try await scene.request(.GET, path + query), 422, "invalid-value")
                }
            }
        }
    }

    @Test("There are at most 50 webhooks, also if several are added at once")
    func limit() async throws {
        try await withWebhookScene([:]) { scene in
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for number in 0..<55 {
                    group.addTask {
                        try await scene.request(.POST, "", #"{"url":"https://hooks.example/\#(number)"}"#).status
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses.filter { $0 == 201 }.count == 50)
            #expect(statuses.filter { $0 == 409 }.count == 5)
        }
    }

    @Test("A webhook that is removed, and one that was never there, are unknown to every route")
    func unknown() async throws {
        try await withWebhookScene([:]) { scene in
            let (id, _) = try await scene.add("https://hooks.example/")
            #expect(try await scene.request(.DELETE, "/\(id)").status == 204)
            for id in [id, WebhookID.random().description] {
                let delivery = WebhookDeliveryID.random()
                expectProblem(try await scene.request(.DELETE, "/\(id)"), 404, "not-found")
                expectProblem(try await scene.request(.PATCH, "/\(id)", #"{"is_active":true}"#), 404, "not-found")
                expectProblem(try await scene.request(.GET, "/\(id)/deliveries"), 404, "not-found")
                expectProblem(try await scene.request(.POST, "/\(id)/deliveries/\(delivery)/retry"), 404, "not-found")
            }
            let (other, _) = try await scene.add("https://hooks.example/")
            expectProblem(
                try await scene.request(.POST, "/\(other)/deliveries/\(WebhookDeliveryID.random())/retry"), 404,
                "not-found")
            for path in ["/x", "/x/deliveries", "/\(other)/deliveries/x/retry"] {
                let method: HTTPMethod = path == "/x" ? .DELETE : path.hasSuffix("retry") ? .POST : .GET
                expectProblem(try await scene.request(method, path), 422, "invalid-value")
            }
        }
    }

    @Test("No secret and no URL is in the audit log")
    func audit() async throws {
        try await withWebhookScene([:]) { scene in
            let (id, secret) = try await scene.add("https://hooks.example/token-4711")
            _ = try await scene.request(.PATCH, "/\(id)", #"{"url":"https://hooks.example/token-4712"}"#)
            _ = try await scene.request(.DELETE, "/\(id)")
            let records = try await scene.database.audit("action LIKE 'webhook.%'")
            #expect(records.map(\.action) == ["webhook.add", "webhook.change", "webhook.remove"])
            #expect(records.allSatisfy { $0.user != nil })
            let rows = try await scene.database.query("SELECT a::text AS text FROM app.audit_log a")
            for row in rows {
                let text = try row.decode("text", as: String.self)
                #expect(!text.contains("4711") && !text.contains("4712") && !text.contains(secret))
            }
        }
    }
}
