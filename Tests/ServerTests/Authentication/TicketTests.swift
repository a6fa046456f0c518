import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

@Suite(.deadline) struct TicketTests {
    @Test("A ticket opens its stream once, and the stream can resume")
    func opens() async throws {
        try await withClinic { clinic in
            for (stream, progress) in [(clinic.streamOfSession, 20), (Clinic.streamOfAll, 30)] {
                let ticket = try await clinic.ticket(for: stream, as: .patient)
                let resumed = try await clinic.server.withStream("\(stream)?ticket=\(ticket)", headers: [:]) {
                    reader in
                    #expect(reader.status == 200)
                    // The stream of all sessions sends its position after the snapshot.
                    while let event = try await reader.nextEvent() {
                        if let id = event.id { return id as String? }
                    }
                    return nil
                }
                expectProblem(
                    try await clinic.request(.GET, "\(stream)?ticket=\(ticket)", as: nil), 401, "unauthorized")
                try await clinic.database.report(clinic.session, .transcribing, progress)
                // A ticket goes together with the header, and with the query parameter.
                let next = try await clinic.ticket(for: stream, as: .patient)
                let headers: HTTPHeaders = ["Last-Event-ID": try #require(resumed)]
                try await clinic.server.withStream("\(stream)?ticket=\(next)", headers: headers) { reader in
                    let event = try await reader.nextEvent()
                    #expect(event?.progress == progress)
                }
                let last = try await clinic.ticket(for: stream, as: .patient)
                try await clinic.server.withStream(
                    "\(stream)?last_event_id=\(try #require(resumed))&ticket=\(last)", headers: [:]
                ) { reader in
                    let event = try await reader.nextEvent()
                    #expect(event?.progress == progress)
                }
            }
        }
    }

    @Test("A ticket stays valid when the client's Accept header does not fit")
    func notAcceptable() async throws {
        try await withClinic { clinic in
            for stream in [clinic.streamOfSession, Clinic.streamOfAll] {
                let path = "\(stream)?ticket=\(try await clinic.ticket(for: stream, as: .patient))"
                let refusal = try await clinic.request(.GET, path, as: nil, headers: ["Accept": "application/json"])
                expectProblem(refusal, 406, "not-acceptable")
                try await clinic.server.withStream(path, headers: [:]) { #expect($0.status == 200) }
                expectProblem(try await clinic.request(.GET, path, as: nil), 401, "unauthorized")
            }
        }
    }

    @Test("Fifty parallel requests with one ticket, at two servers, open one stream")
    func race() async throws {
        try await withClinic { clinic in
            try await withServer(over: clinic.database) { other in
                for stream in [clinic.streamOfSession, Clinic.streamOfAll] {
                    let path = "\(stream)?ticket=\(try await clinic.ticket(for: stream, as: .therapist))"
                    let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                        for index in 0..<50 {
                            let server = index.isMultiple(of: 2) ? clinic.server : other
                            group.addTask { try await server.withStream(path, headers: [:]) { $0.status } }
                        }
                        return try await group.reduce(into: []) { $0.append($1) }
                    }
                    #expect(statuses.count { $0 == 200 } == 1)
                    #expect(statuses.count { $0 == 401 } == 49)
                }
            }
        }
    }

    @Test("A ticket for one stream gets 401 on every other stream and stays valid")
    func bound() async throws {
        try await withClinic { clinic in
            let other = try await clinic.database.addSession(of: clinic.id(.patient))
            let streams = [clinic.streamOfSession, "/api/sessions/\(other)/status/stream", Clinic.streamOfAll]
            for own in streams {
                let ticket = try await clinic.ticket(for: own, as: .patient)
                for stream in streams + ["/api/sessions/nonsense/status/stream"] where stream != own {
                    expectProblem(
                        try await clinic.request(.GET, "\(stream)?ticket=\(ticket)", as: nil), 401, "unauthorized")
                }
                let status = try await clinic.server.withStream("\(own)?ticket=\(ticket)", headers: [:]) { $0.status }
                #expect(status == 200)
            }
        }
    }

    @Test("A ticket or a token in the URL gets 401 on every other route")
    func otherRoutes() async throws {
        try await withClinic { clinic in
            let ticket = try await clinic.ticket(for: clinic.streamOfSession, as: .therapist)
            let session = "/api/sessions/\(clinic.session)"
            let token = clinic.token(.therapist)
            let routes: [(HTTPMethod, String)] = [
                (.GET, "/api/auth/me"), (.GET, "/api/sessions"), (.GET, session), (.GET, "\(session)/status"),
                (.GET, "\(session)/events"), (.GET, "\(session)/transcript"), (.GET, "\(session)/notes"),
                (.GET, "\(session)/recording"), (.DELETE, session), (.POST, "\(session)/retry"),
                (.POST, "\(session)/status/ticket"), (.POST, "/api/sessions/status/ticket"), (.GET, "/metrics"),
            ]
            for (method, path) in routes {
                for query in ["ticket=\(ticket)", "ticket=\(token)", "access_token=\(token)", "token=\(token)"] {
                    expectProblem(
                        try await clinic.request(method, "\(path)?\(query)", as: nil), 401, "unauthorized",
                        "\(method) \(path)?\(query.prefix(8))")
                }
            }
            for stream in [clinic.streamOfSession, Clinic.streamOfAll] {
                for query in ["ticket=\(token)", "access_token=\(token)", "token=\(token)", "ticket=", "ticket"] {
                    expectProblem(
                        try await clinic.request(.GET, "\(stream)?\(query)", as: nil), 401, "unauthorized", "\(query)")
                }
            }
        }
    }

    @Test("A ticket counts only if the request has neither a header nor a cookie with a token")
    func order() async throws {
        try await withClinic { clinic in
            let stream = clinic.streamOfSession
            let ticket = try await clinic.ticket(for: stream, as: .patient)
            let path = "\(stream)?ticket=\(ticket)"
            for headers in [
                ["Authorization": "Bearer nonsense"], ["Authorization": "Basic x"], ["Cookie": "tb_access=nonsense"],
                ["Authorization": "Bearer nonsense", "Cookie": "tb_access=\(clinic.token(.patient))"],
            ] {
                expectProblem(try await clinic.request(.GET, path, as: nil, headers: headers), 401, "unauthorized")
            }
            // The stranger's own token decides, and the ticket stays unused.
            expectProblem(try await clinic.request(.GET, path, as: .stranger), 403, "forbidden")
            let status = try await clinic.server.withStream(path, headers: ["Cookie": "theme=dark"]) { $0.status }
            #expect(status == 200)
        }
    }

    @Test("HEAD does not spend a ticket")
    func head() async throws {
        try await withClinic { clinic in
            for stream in [clinic.streamOfSession, Clinic.streamOfAll] {
                let path = "\(stream)?ticket=\(try await clinic.ticket(for: stream, as: .patient))"
                for _ in 0..<2 {
                    let head = try await clinic.request(.HEAD, path, as: nil)
                    #expect(head.status == 200)
                    #expect(head.headers["Content-Type"] == ["text/event-stream; charset=utf-8"])
                }
                let status = try await clinic.server.withStream(path, headers: [:]) { $0.status }
                #expect(status == 200)
                #expect(try await clinic.request(.HEAD, path, as: nil).status == 401)
            }
        }
    }

    @Test("A caller who may see a session gets its ticket, and every signed-in caller one for all sessions")
    func rights() async throws {
        try await withClinic { clinic in
            let path = "/api/sessions/\(clinic.session)/status/ticket"
            for caller in [Clinic.Caller.patient, .therapist, .admin] {
                _ = try await clinic.ticket(for: clinic.streamOfSession, as: caller)
            }
            for caller in [Clinic.Caller.otherPatient, .stranger, .former, .nominal, .pipeline] {
                expectProblem(try await clinic.request(.POST, path, as: caller), 403, "forbidden", "\(caller)")
            }
            for caller in Clinic.Caller.allCases { _ = try await clinic.ticket(for: Clinic.streamOfAll, as: caller) }
            for path in [path, "/api/sessions/status/ticket"] {
                expectProblem(try await clinic.request(.POST, path, as: nil), 401, "unauthorized")
                expectProblem(try await clinic.request(.GET, path, as: .patient), 405, "method-not-allowed")
                let cookie = ["Cookie": "tb_access=\(clinic.token(.patient))"]
                expectProblem(
                    try await clinic.request(.POST, path, as: nil, headers: cookie), 403, "origin-forbidden")
            }
            expectProblem(
                try await clinic.request(.POST, "/api/sessions/\(SessionID.random())/status/ticket", as: .admin), 404)
            expectProblem(
                try await clinic.request(.POST, "/api/sessions/x/status/ticket", as: .admin), 422, detail: "id")
        }
    }

    @Test(
        "A ticket gets 401 after its expiry, its token's or its sign-in's end, and 403 without the right"
    )
    func ended() async throws {
        try await withClinic { clinic in
            let ends: [(PostgresQuery, Int)] = [
                ("UPDATE app.stream_tickets SET expires_at = clock_timestamp()", 401),
                ("UPDATE app.stream_tickets SET access_expires_at = clock_timestamp()", 401),
                ("UPDATE app.auth_sessions SET revoked_at = now()", 401),
                ("UPDATE app.therapist_patients SET is_active = false", 403),
                ("UPDATE app.users SET is_active = false", 403),
            ]
            for (end, status) in ends {
                let (token, _) = try await clinic.server.signIn(clinic.id(.therapist))
                let ticket = try await clinic.ticket(for: clinic.streamOfSession, token: token)
                try await clinic.database.query(end)
                expectProblem(
                    try await clinic.request(.GET, "\(clinic.streamOfSession)?ticket=\(ticket)", as: nil), status)
                try await clinic.database.query("UPDATE app.users SET is_active = true")
                try await clinic.database.query("UPDATE app.therapist_patients SET is_active = true")
            }
        }
    }

    @Test("A stream opened by a ticket ends with the right, the sign-in and the ticket's access token")
    func streamEnds() async throws {
        try await withClinic { clinic in
            let (token, signIn) = try await clinic.server.signIn(clinic.id(.therapist))
            let table: [(PostgresQuery, String)] = [
                ("UPDATE app.therapist_patients SET is_active = false", "revoked"),
                ("UPDATE app.auth_sessions SET revoked_at = now() WHERE id = \(signIn.rawValue)", "revoked"),
            ]
            for (end, event) in table {
                let ticket = try await clinic.ticket(for: clinic.streamOfSession, token: token)
                try await clinic.server.withStream("\(clinic.streamOfSession)?ticket=\(ticket)", headers: [:]) {
                    reader in
                    _ = try await reader.next("progress")
                    try await clinic.database.query(end)
                    _ = try await reader.next(event)
                    #expect(try await reader.nextBlock() == nil)
                }
                try await clinic.database.query("UPDATE app.therapist_patients SET is_active = true")
            }
        }
        // The server's clock stands still until the stream is open.
        let clock = ManualClock()
        try await withServer(clock: clock) { server in
            let clinic = try await Clinic(server)
            let ticket = try await clinic.ticket(for: clinic.streamOfSession, as: .patient)
            try await clinic.database.query(
                "UPDATE app.stream_tickets SET access_expires_at = clock_timestamp() + interval '600 seconds'")
            try await clinic.server.withStream("\(clinic.streamOfSession)?ticket=\(ticket)", headers: [:]) { reader in
                _ = try await reader.next("progress")
                clock.advance(by: .seconds(602))
                _ = try await reader.next("expired")
                #expect(try await reader.nextBlock() == nil)
            }
        }
    }
}
