import Domain
import Foundation
import NIOHTTP1
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The page signs out when the account is deactivated or the sign-in has ended.
///
/// No browser runs here. The tests send the requests of the page's code to a server, and compare the responses with the
/// statuses, types and events for which the code signs out. A change of either side fails a test.
@Suite(.deadline) struct PageSignOutTests {
    enum End: CaseIterable, Sendable {
        case accountDeactivated, signedOutInAnotherTab
    }

    /// The responses for which `api.js` signs the user out.
    private struct Rules {
        /// The status after which the client refreshes the tokens, and the page signs out if it gets the status again.
        let expiredStatus: Int?
        /// The status and the type of the problem after which the page signs out at once.
        let inactiveStatus: Int?
        let inactiveType: String

        init(_ code: PageCode) throws {
            expiredStatus = Int(
                try code.match(/else if \(error\.status === (\d+)\) signedOutHandler\(/, in: "api.js").1)
            let inactive = try code.match(
                /return error\?\.status === (\d+) && error\.type === "([^"]+)";/, in: "api.js")
            inactiveStatus = Int(inactive.1)
            inactiveType = String(inactive.2)
        }

        /// True if the page signs out when a request gets this response and the refresh gets the other one.
        func signOut(on response: TestResponse, afterRefresh refresh: TestResponse) -> Bool {
            if response.status == expiredStatus {
                return refresh.status != 429 && (400..<500).contains(refresh.status)
            }
            return isInactive(response)
        }

        func isInactive(_ response: TestResponse) -> Bool {
            response.status == inactiveStatus && (try? response.json()["type"] as? String) == inactiveType
        }
    }

    @Test(
        "When a right to the page ends, its stream ends, and every request gets a response that signs out",
        arguments: End.allCases)
    func responses(to end: End) async throws {
        let origin = "http://127.0.0.1:8000"
        // Without the poll: the notification alone ends the stream.
        try await withAccountScene(["PUBLIC_URL": origin, "SSE_UPDATE_INTERVAL": "3600"]) { scene in
            let patient = try await scene.database.addUser(.patient)
            try await scene.database.assign(scene.user, to: patient)
            let session = try await scene.database.addSession(of: patient)
            let admin = try await scene.server.token(try await scene.database.addUser(.admin))
            let tokens = try await scene.signIn()
            let cookies = ["Cookie": "tb_access=\(tokens.access)", "Origin": origin]
            let code = try await PageCode(scene.server)
            let rules = try Rules(code)

            // The stream ends with an event that ends the watch. The page then sends a request.
            _ = try code.match(/const watch = bridge\.watchAll\(\{/, in: "live.js")
            _ = try code.match(
                /watch\.ended\.then\(\(\) => \{ if \(watch === this\.#watch\) this\.#recover\(\); \}\);/,
                in: "live.js")
            let stream = "/api/sessions/status/stream"
            try await scene.server.withStream(stream, headers: .init(Array(cookies))) { reader in
                while let event = try await reader.nextEvent(), event.event != "ready" {}
                switch end {
                case .accountDeactivated:
                    let response = try await scene.server.request(
                        .PATCH, "/api/users/\(scene.user)", token: admin,
                        headers: ["Content-Type": "application/json"], body: Data(#"{"is_active":false}"#.utf8))
                    #expect(response.status == 200)
                case .signedOutInAnotherTab:
                    #expect(try await scene.post("logout", nil, headers: cookies).status == 204)
                }
                let events = try await reader.rest().compactMap(\.event)
                #expect(events.count == 1)
                let handler = try #require(events.first.map { "case \"\($0)\": return ended(" })
                #expect(
                    try await scene.server.request(.GET, "/client.js").text.contains(handler), "\(handler)")
            }

            let refresh = try await scene.post(
                "refresh", nil, headers: ["Cookie": "tb_refresh=\(tokens.refresh)", "Origin": origin])
            #expect(rules.isInactive(refresh) == (end == .accountDeactivated), "\(refresh.text)")
            // These three make and end sign-ins. The page sends them without the others' rules.
            let withoutSignIn = ["/api/auth/login", "/api/auth/logout", "/api/auth/refresh"]
            for request in code.requests where !withoutSignIn.contains(request.path) {
                let path = request.path.replacing("{}", with: "\(session)")
                var response = try await scene.server.request(
                    HTTPMethod(rawValue: request.method), path, headers: cookies)
                if response.status == 405, let method = response.headers[canonicalForm: "Allow"].first {
                    // The code has the path in a variable, and its method elsewhere.
                    response = try await scene.server.request(
                        HTTPMethod(rawValue: String(method)), path, headers: cookies)
                }
                #expect(
                    rules.signOut(on: response, afterRefresh: refresh),
                    "\(request): \(response.status) \(response.text)")
                #expect(rules.isInactive(response) == (end == .accountDeactivated), "\(request)")
            }

            // The access token may have expired before: the refresh then finds out.
            let expired = try await scene.me(try await scene.expiredToken(beside: tokens))
            #expect(expired.status == rules.expiredStatus)
            #expect(rules.signOut(on: expired, afterRefresh: refresh))
        }
    }

    @Test("While the account is active, no request of the page gets a response that signs out")
    func active() async throws {
        try await withAccountScene { scene in
            let patient = try await scene.database.addUser(.patient)
            try await scene.database.assign(scene.user, to: patient)
            let session = try await scene.database.addSession(of: patient)
            let tokens = try await scene.signIn()
            let code = try await PageCode(scene.server)
            let rules = try Rules(code)
            let reads = code.requests.filter { $0.method == "GET" && !$0.path.hasSuffix("/stream") }
            #expect(reads.count >= 8)
            for request in reads {
                let response = try await scene.server.request(
                    .GET, request.path.replacing("{}", with: "\(session)"),
                    headers: ["Cookie": "tb_access=\(tokens.access)"])
                // Some of the page's views are for other roles. 405: the path is in a variable, and is not read.
                #expect([200, 403, 404, 405].contains(response.status), "\(request)")
                #expect(!rules.isInactive(response), "\(request)")
            }
        }
    }

    @Test("The page's code signs out by one rule for all requests, and then stops its stream")
    func code() async throws {
        try await withServer { server in
            let code = try await PageCode(server)
            // All requests but those of an audio element take the way of the client.
            for (name, text) in code.modules {
                for way in ["fetch(", "EventSource(", "WebSocket(", "XMLHttpRequest("] {
                    #expect(!text.contains(way), "\(name): \(way)")
                }
            }
            _ = try code.match(
                /return authorised\(\(\) => bridge\.request\(method, path, \{ body, headers, signal \}\)\);/,
                in: "api.js")
            _ = try code.match(
                /if \(isOfInactiveAccount\(error\)\) signedOutHandler\("deactivated"\);/, in: "api.js")
            _ = try code.match(
                /signedOutHandler\(isOfInactiveAccount\(bridge\.credentials\.refusal\) \? "deactivated" : "ended"\);/,
                in: "api.js")
            // When its stream ends for good, the page sends a request, and the rule decides.
            #expect(
                try code.method("async #recover()", in: "live.js").contains("await get(\"/api/auth/me\");"))
            _ = try code.match(
                /api\.whenSignedOut\(\(reason\) => this\.#signedOut\(reason\)\);/, in: "desk.js")
            let signOut = try code.method("#signedOut(reason, { isTold = false } = {})", in: "desk.js")
            for statement in [
                "this.user = null;", "this.live.stop();", "this.store.clear();", "this.#close();", "fill(this.#main);",
                "this.#places.leave(", "this.#signIn.show(",
            ] {
                #expect(signOut.contains(statement), "\(statement)")
            }
            let stop = try code.method("stop()", in: "live.js")
            for statement in ["this.#running = false;", "this.#close();"] {
                #expect(stop.contains(statement), "\(statement)")
            }
            // After the stop no retry is planned, and none of those that were planned runs.
            #expect(try code.method("async #recover()", in: "live.js").contains("if (!this.#running"))
            #expect(
                try code.method("#later(name, delay, work)", in: "live.js").contains(
                    "if (this.#running) work();"))
        }
    }
}
