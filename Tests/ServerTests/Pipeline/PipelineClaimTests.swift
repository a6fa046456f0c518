import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

/// Claims of pipelines over HTTP, and the wait for work.
@Suite(.deadline) struct PipelineClaimTests {
    @Test("A claim has the session, its lease and its recording, and without work it gets 204")
    func claim() async throws {
        try await withServer { server in
            let pipeline = try await PipelineAccount(server)
            let nothing = try await pipeline.claim()
            #expect(nothing.status == 204)
            #expect(nothing.body.isEmpty)
            let session = try await server.database.queueSessions()[0]
            let response = try await pipeline.claim()
            #expect(response.headers["Cache-Control"] == ["no-store"])
            let claim = try PipelineAccount.Claim(response)
            #expect(claim.session == session)
            #expect(claim.attempt == 1)
            #expect(claim.status == "pending")
            #expect(claim.lease.count == 64)
            #expect(
                Set(claim.json.keys) == ["session_id", "attempt", "status", "lease", "leased_until", "recording"])
            let recording = try #require(claim.json["recording"] as? [String: any Sendable])
            #expect(
                recording as NSDictionary == [
                    "filename": "session.ogg", "bytes": 1000, "media_type": "audio/ogg", "duration_seconds": NSNull(),
                ])
            #expect(try await pipeline.claim().status == 204)
            // The audit log names the session and its patient, and the claim is recorded with its request.
            let records = try await server.database.audit("action = 'session.claim'")
            #expect(records.map(\.session) == [session])
            #expect(records.map(\.requestID) == response.headers["X-Request-Id"])
            #expect(records.allSatisfy { $0.patient != nil && $0.isAllowed })
        }
    }

    @Test("A takeover tells which status the former worker reached, and how long the recording is")
    func takeover() async throws {
        try await withServer { server in
            let pipeline = try await PipelineAccount(server)
            try await server.database.queueSessions()
            let first = try PipelineAccount.Claim(try await pipeline.claim())
            #expect(try await pipeline.report("transcribing", 30, of: first).status == 200)
            let transcript = #""text": "a", "segments": [], "duration_seconds": 61.5"#
            #expect(try await pipeline.put("transcript", transcript, of: first).status == 204)
            #expect(try await pipeline.report("transcribed", 60, of: first).status == 200)
            try await server.database.withConnection { connection in
                _ = try await connection.query("UPDATE app.session_leases SET leased_until = now() - interval '1 s'")
            }
            let second = try PipelineAccount.Claim(try await pipeline.claim())
            #expect(second.attempt == 2)
            #expect(second.status == "transcribed")
            let recording = try #require(second.json["recording"] as? [String: any Sendable])
            #expect(recording["duration_seconds"] as? Double == 61.5)
            // The former worker is fenced.
            #expect(try await pipeline.put("notes", #""a": 1"#, of: first).status == 409)
            #expect(try await pipeline.report("extracting_notes", 60, of: first).status == 200)
            let status = try await server.database.query("SELECT status FROM app.session_progress")[0]
            #expect(try status.decode("status", as: String.self) == "transcribed")
        }
    }

    @Test(
        "A claim out of range gets 422",
        arguments: [
            (#"{"worker": "", "lease_seconds": 60}"#, "worker"),
            (#"{"worker": "\#(String(repeating: "a", count: 101))", "lease_seconds": 60}"#, "worker"),
            (#"{"worker": "a\u0000", "lease_seconds": 60}"#, "worker"), (#"{"lease_seconds": 60}"#, "worker"),
            (#"{"worker": 7, "lease_seconds": 60}"#, "worker"), (#"{"worker": "a"}"#, "lease_seconds"),
            (#"{"worker": "a", "lease_seconds": 0.9}"#, "lease_seconds"),
            (#"{"worker": "a", "lease_seconds": 86401}"#, "lease_seconds"),
            (#"{"worker": "a", "lease_seconds": "60"}"#, "lease_seconds"),
        ])
    func outOfRange(body: String, field: String) async throws {
        try await withServer { server in
            let pipeline = try await PipelineAccount(server)
            expectProblem(
                try await pipeline.send(.POST, "/api/pipeline/claim", body), 422, "invalid-value", detail: field)
        }
    }

    /// Only the notification can wake the request, because the clock of the server stands still.
    @Test("A waiting claim gets a session as soon as it joins the queue")
    func woken() async throws {
        let clock = ManualClock()
        try await withServer(clock: clock) { server in
            let pipeline = try await PipelineAccount(server)
            #expect(try await pipeline.claim().status == 204)
            async let waiting = pipeline.claim(waiting: 30)
            try await pipeline.seeWaiting()
            let session = try await server.database.queueSessions()[0]
            #expect(try PipelineAccount.Claim(try await waiting).session == session)
        }
    }

    @Test("Each of many waiting claims gets a session, although all sessions come with one notification")
    func manyWoken() async throws {
        let clock = ManualClock()
        try await withServer(clock: clock) { server in
            let pipeline = try await PipelineAccount(server)
            try await withThrowingTaskGroup(of: SessionID.self) { group in
                for _ in 0..<6 {
                    group.addTask { try PipelineAccount.Claim(try await pipeline.claim(waiting: 30)).session }
                }
                try await pipeline.seeWaiting(6)
                let sessions = try await server.database.queueSessions(6)
                var claimed: Set<SessionID> = []
                for try await session in group { claimed.insert(session) }
                #expect(claimed == Set(sessions))
            }
        }
    }

    /// No notification tells of a lease that runs out.
    @Test("A waiting claim looks for itself every five seconds, and gets 204 when its time is over")
    func looks() async throws {
        let clock = ManualClock()
        try await withServer(clock: clock) { server in
            let pipeline = try await PipelineAccount(server)
            try await server.database.queueSessions()
            let first = try PipelineAccount.Claim(try await pipeline.claim())
            let waiting = Task { try await pipeline.claim(waiting: 60) }
            defer { waiting.cancel() }
            try await pipeline.seeWaiting()
            try await server.database.query("UPDATE app.session_leases SET leased_until = now() - interval '1 s'")
            // A minute passes in 12 s: enough for one of twelve looks on a slow machine.
            let answer = try await clock.keepMoving(by: .milliseconds(100)) { try await waiting.value }
            let second = try PipelineAccount.Claim(answer)
            #expect(second.session == first.session)
            #expect(second.attempt == 2)

            // A wait of two minutes is one of 60 seconds.
            let start = clock.now
            let vain = try await clock.keepMoving(by: .seconds(1)) { try await pipeline.claim(waiting: 120) }
            #expect(vain.status == 204)
            #expect(start.duration(to: clock.now) >= .seconds(60))
        }
    }

    @Test("A client that has gone keeps no session: the next one gets it")
    func gone() async throws {
        let clock = ManualClock()
        try await withServer(clock: clock) { server in
            let pipeline = try await PipelineAccount(server)
            #expect(try await pipeline.claim().status == 204)
            let body = #"{"worker": "gone", "lease_seconds": 3600}"#
            let socket = try RawSocket(port: server.port)
            try await eventually("connected") { socket.isConnected }
            try socket.send(
                "POST /api/pipeline/claim HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer \(pipeline.token)\r\n"
                    + "Prefer: wait=60\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
            )
            try await pipeline.seeWaiting()
            socket.close()
            try await pipeline.seeWaiting(0)
            let session = try await server.database.queueSessions()[0]
            let claim = try PipelineAccount.Claim(try await pipeline.claim())
            #expect(claim.session == session)
            #expect(claim.attempt == 1)
        }
    }

    @Test("An account that loses its right while it waits gets 401 and no session")
    func signedOut() async throws {
        let clock = ManualClock()
        try await withServer(clock: clock) { server in
            let pipeline = try await PipelineAccount(server)
            #expect(try await pipeline.claim().status == 204)
            async let waiting = pipeline.claim(waiting: 30)
            try await pipeline.seeWaiting()
            try await server.database.query("UPDATE app.auth_sessions SET revoked_at = now()")
            try await server.database.queueSessions()
            expectProblem(try await waiting, 401, "unauthorized")
            let leased = try await server.database.query("SELECT FROM app.session_leases WHERE worker IS NOT NULL")
            #expect(leased.isEmpty)
        }
    }

    @Test(
        "The preference wait counts in whole seconds, and another form of it is ignored",
        arguments: ["wait=x", "wait", "respond-async", "wait=-1", "wait=0", "wait=\"0\", wait=30"])
    func preference(value: String) async throws {
        let clock = ManualClock()
        try await withServer(clock: clock) { server in
            let pipeline = try await PipelineAccount(server)
            let response = try await pipeline.send(
                .POST, "/api/pipeline/claim", #"{"worker": "a", "lease_seconds": 60}"#, headers: ["Prefer": value])
            #expect(response.status == 204)
        }
    }
}
