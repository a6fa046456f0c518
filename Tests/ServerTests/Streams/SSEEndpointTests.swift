import Domain
import NIOHTTP1
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

/// The tests that the service before this one named for its endpoint, end to end; `docs/verification.md` lists them.
@Suite("SSE endpoint", .deadline) struct SSEEndpointTests {
    @Test("The stream needs a valid access token")
    func sseAuthenticationRequired() async throws {
        try await withClinic { clinic async throws in
            let path = clinic.streamOfSession
            for headers in [HTTPHeaders(), ["Authorization": "Bearer x.y.z"]] {
                let response = try await clinic.server.withStream(path, headers: headers) { $0.head }
                #expect(response.status == 401)
                #expect(response.headers["WWW-Authenticate"] == ["Bearer"])
                #expect(response.headers["Content-Type"] == ["application/problem+json"])
            }
        }
    }

    @Test("A patient sees the own session, and no other patient does")
    func sseAuthorizationPatientOwnSession() async throws {
        try await withClinic { clinic async throws in
            #expect(try await clinic.firstEvent(as: .patient)?.status == "pending")
            #expect(try await clinic.streamStatus(as: .otherPatient) == 403)
        }
    }

    @Test("The assigned therapist sees the session, and no other therapist does")
    func sseAuthorizationTherapistAssignedPatient() async throws {
        try await withClinic { clinic async throws in
            #expect(try await clinic.firstEvent(as: .therapist)?.status == "pending")
            for caller in [Clinic.Caller.stranger, .former, .nominal] {
                #expect(try await clinic.streamStatus(as: caller) == 403, "\(caller)")
            }
        }
    }

    @Test("An unknown session gets 404")
    func sseSessionNotFound() async throws {
        try await withClinic { clinic async throws in
            for caller in [Clinic.Caller.patient, .therapist, .admin] {
                #expect(try await clinic.streamStatus(as: caller, session: .random()) == 404, "\(caller)")
            }
        }
    }

    @Test("Each change is sent as `event: progress` with the progress object as JSON")
    func sseProgressUpdatesFormat() async throws {
        try await withStreamScene { scene async throws in
            try await scene.server.withWire { connection in
                try await connection.send("GET", scene.path, token: scene.token)
                let opening = try await connection.read(upTo: "}\n\n")
                #expect(opening.contains("\"version\":1,"))
                #expect(opening.contains("HTTP/1.1 200 OK\r\n"))
                #expect(opening.lowercased().contains("content-type: text/event-stream"))
                #expect(opening.contains("id: 1\nevent: progress\ndata: {"))
                try await scene.report(.transcribing, 45, message: "Transcribing audio")
                let update = try await connection.read(upTo: "}\n\n")
                #expect(update.contains("id: 2\nevent: progress\ndata: {"))
                #expect(update.contains("\"session_id\":\"\(scene.session)\""))
                #expect(update.contains("\"status\":\"transcribing\""))
                #expect(update.contains("\"progress\":45"))
                #expect(update.contains("\"message\":\"Transcribing audio\""))
            }
        }
    }

    @Test("A stream sends `: heartbeat` while nothing changes")
    func sseHeartbeatSent() async throws {
        let clock = ManualClock()
        try await withStreamScene(["SSE_HEARTBEAT_INTERVAL": "15"], clock: clock) { scene async throws in
            try await scene.server.withWire { connection in
                try await connection.send("GET", scene.path, token: scene.token)
                let text = try await connection.read(upTo: "}\n\n")
                #expect(text.contains("event: progress\n"))
                clock.advance(by: .milliseconds(15_100))
                #expect(try await connection.read(upTo: ": heartbeat\n\n").hasSuffix(": heartbeat\n\n"))
            }
        }
    }

    @Test("A stream ends when the session is processed or has failed", arguments: ["complete", "error"])
    func sseStreamClosesOnCompletion(name: String) async throws {
        try await withStreamScene { scene async throws in
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                try await scene.report(.transcribing, 40)
                if name == "complete" {
                    try await scene.report(.transcribed, 60)
                    try await scene.report(.processed, 100)
                } else {
                    try await scene.report(.failed, 40, error: "No speech.")
                }
                let events = try await reader.rest()
                #expect(events.last?.event == name)
                #expect(events.last?.progress == (name == "complete" ? 100 : 40))
            }
        }
    }
}

extension Clinic {
    /// The first event of the session's stream.
    fileprivate func firstEvent(as caller: Caller) async throws -> StreamedEvent? {
        let headers: HTTPHeaders = ["Authorization": "Bearer \(token(caller))"]
        return try await server.withStream("/api/sessions/\(session)/status/stream", headers: headers) { reader in
            #expect(reader.status == 200)
            return try await reader.next("progress")
        }
    }

    /// The status code of a request for the stream.
    fileprivate func streamStatus(as caller: Caller, session other: SessionID? = nil) async throws -> Int {
        let headers: HTTPHeaders = ["Authorization": "Bearer \(token(caller))"]
        return try await server.withStream("/api/sessions/\(other ?? session)/status/stream", headers: headers) {
            $0.status
        }
    }
}

extension EventReader {
    /// The head of the response.
    fileprivate var head: (status: Int, headers: HTTPHeaders) { (status, headers) }
}
