import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// What a pipeline does over HTTP under its lease.
@Suite(.deadline) struct PipelineLeaseTests {
    /// Lends a pipeline that has claimed a session.
    private func withClaim(
        _ body: @escaping @Sendable (PipelineAccount, PipelineAccount.Claim) async throws -> Void
    ) async throws {
        try await withServer { server in
            let pipeline = try await PipelineAccount(server)
            try await server.database.queueSessions()
            try await body(pipeline, try PipelineAccount.Claim(try await pipeline.claim()))
        }
    }

    private static func path(_ claim: PipelineAccount.Claim) -> String { "/api/pipeline/leases/\(claim.session)" }

    @Test("A lease is extended, and the answer says until when it stands")
    func kept() async throws {
        try await withClaim { pipeline, claim in
            let response = try await pipeline.send(
                .POST, Self.path(claim), "{\(claim.proof), \"lease_seconds\": 3600}")
            #expect(response.status == 200)
            let json = try response.json()
            #expect(Set(json.keys) == ["leased_until"])
            let told = try #require(Timestamp(rfc3339: json["leased_until"] as? String ?? ""))
            let stored = try await pipeline.server.database.query("SELECT leased_until FROM app.session_leases")[0]
                .decode("leased_until", as: Timestamp.self)
            #expect(told <= stored)
            #expect(told > Timestamp.now().advanced(by: .seconds(3000)))
        }
    }

    @Test("A lease that has run out gets 409, and is not extended")
    func runOut() async throws {
        try await withClaim { pipeline, claim in
            let database = pipeline.server.database
            try await database.query("UPDATE app.session_leases SET leased_until = now() - interval '1 s'")
            let response = try await pipeline.send(
                .POST, Self.path(claim), "{\(claim.proof), \"lease_seconds\": 3600}")
            expectProblem(response, 409, "conflict")
            let isStanding = try await database.query("SELECT leased_until > now() FROM app.session_leases")[0]
                .decode(0, as: Bool.self)
            #expect(!isStanding)
        }
    }

    @Test("A session that is given back is there for the next claim, with the next attempt")
    func givenBack() async throws {
        try await withClaim { pipeline, claim in
            let response = try await pipeline.send(.DELETE, Self.path(claim), "{\(claim.proof)}")
            #expect(response.status == 204)
            let next = try PipelineAccount.Claim(try await pipeline.claim())
            #expect(next.session == claim.session)
            #expect(next.attempt == 2)
            expectProblem(try await pipeline.send(.DELETE, Self.path(claim), "{\(claim.proof)}"), 409, "conflict")
        }
    }

    @Test("A lease that does not stand gets 409 on every route, and stores nothing")
    func notStanding() async throws {
        try await withClaim { pipeline, claim in
            let wrong = [
                #""lease": "wrong", "attempt": 1"#, #""lease": "\#(claim.lease)", "attempt": 2"#,
            ]
            for proof in wrong {
                for (method, path, members) in [
                    (HTTPMethod.POST, Self.path(claim), #", "lease_seconds": 60"#), (.DELETE, Self.path(claim), ""),
                    (.PUT, "/api/sessions/\(claim.session)/transcript", #", "text": "a", "segments": []"#),
                    (.PUT, "/api/sessions/\(claim.session)/notes", ""),
                ] {
                    let response = try await pipeline.send(method, path, "{\(proof)\(members)}")
                    expectProblem(response, 409, "conflict", "\(method) \(path) \(proof)")
                    #expect(!response.text.contains(claim.lease))
                }
            }
            #expect(try await pipeline.server.database.query("SELECT FROM app.transcripts").isEmpty)
            #expect(try await pipeline.server.database.query("SELECT FROM app.notes").isEmpty)
        }
    }

    @Test(
        "A lease out of range gets 422",
        arguments: [
            ("{}", "lease"), (#"{"lease": "a", "attempt": 1}"#, "lease_seconds"),
            (#"{"lease": "a", "lease_seconds": 60}"#, "attempt"),
            (#"{"lease": 7, "attempt": 1, "lease_seconds": 60}"#, "lease"),
            (#"{"lease": "a", "attempt": 0, "lease_seconds": 60}"#, "attempt"),
            (#"{"lease": "a", "attempt": 1.5, "lease_seconds": 60}"#, "attempt"),
            (#"{"lease": "a\u0000", "attempt": 1, "lease_seconds": 60}"#, "lease"),
            (#"{"lease": "a", "attempt": 1, "lease_seconds": 0}"#, "lease_seconds"),
        ])
    func outOfRange(body: String, field: String) async throws {
        try await withClaim { pipeline, claim in
            expectProblem(
                try await pipeline.send(.POST, Self.path(claim), body), 422, "invalid-value", detail: field)
        }
    }

    @Test("A transcript is stored without its lease, and the same one again makes no history")
    func transcript() async throws {
        try await withClaim { pipeline, claim in
            let database = pipeline.server.database
            #expect(try await pipeline.report("transcribing", 30, of: claim).status == 200)
            let members = #""segments": [{"start": 0, "end": 1.50, "text": "Grüß Gott"}], "text": "Grüß Gott", "a": 1"#
            for _ in 0..<2 {
                let response = try await pipeline.put("transcript", members, of: claim)
                #expect(response.status == 204)
                #expect(response.body.isEmpty)
            }
            let row = try await database.query(
                "SELECT body = \(PostgresJSON(text: "{\(members)}")) AS is_same FROM app.transcripts")[0]
            #expect(try row.decode("is_same", as: Bool.self))
            #expect(try await database.query("SELECT FROM app.result_history").isEmpty)
            #expect(try await pipeline.report("transcribed", 60, of: claim).status == 200)
            #expect(try await pipeline.report("processed", 100, of: claim).status == 200)
            // Nobody has the lease of a finished session.
            expectProblem(try await pipeline.put("transcript", members, of: claim), 409, "conflict")
        }
    }

    @Test("A partial transcript is replaced until the final one, and is refused after it")
    func partial() async throws {
        try await withClaim { pipeline, claim in
            func segments() async throws -> Int {
                Int(
                    try await pipeline.server.database.query("SELECT segments FROM app.session_progress")[0]
                        .decode("segments", as: Int32.self))
            }
            #expect(try await pipeline.report("transcribing", 30, of: claim).status == 200)
            let one = #"{"start": 0, "end": 1, "text": "a"}"#
            for count in [1, 3, 3] {
                let list = Array(repeating: one, count: count).joined(separator: ",")
                let members = #""is_final": false, "segments": [\#(list)]"#
                #expect(try await pipeline.put("transcript", members, of: claim).status == 204)
                #expect(try await segments() == count)
            }
            #expect(try await pipeline.put("transcript", #""text": "a", "segments": []"#, of: claim).status == 204)
            #expect(try await segments() == 0)
            expectProblem(
                try await pipeline.put("transcript", #""is_final": false, "segments": []"#, of: claim), 409, "conflict",
                detail: "final")
        }
    }

    @Test("Notes keep the order and the form of their members, and have no lease")
    func notes() async throws {
        try await withClaim { pipeline, claim in
            let path = "/api/sessions/\(claim.session)/notes"
            let body =
                #"{"z": 1.50, "\u006cease": "x", "lease": "\#(claim.lease)", "a": {"lease": 2}, "attempt": 1, "m": []}"#
            for _ in 0..<2 { #expect(try await pipeline.send(.PUT, path, body).status == 204) }
            let stored = try await pipeline.server.database.query("SELECT body::text AS body FROM app.notes")[0]
                .decode("body", as: String.self)
            #expect(stored == #"{"z":1.50,"a":{"lease": 2},"m":[]}"#)
            #expect(try await pipeline.server.database.query("SELECT FROM app.result_history").isEmpty)
        }
    }

    @Test(
        "A document that cannot be stored is refused, and the answer names what is wrong",
        arguments: [
            (#", "text": "a", "segments": [{"start": 2, "end": 1, "text": "a"}]"#, 422, "end of segments[0] comes"),
            (
                #", "text": "a", "segments": [{"start": 0, "end": 1e400, "text": "a"}]"#, 422,
                "segments[0] is no segment"
            ),
            (#", "text": "a""#, 422, "transcript: needs"), (#", "segments": []"#, 422, "transcript: needs"),
            (#", "text": "\u0000", "segments": []"#, 422, "u0000"),
            (#", "text": "a", "segments": [], "x": 1e999999"#, 422, "cannot store"),
            (#", "text": NaN, "segments": []"#, 400, "not JSON"), (#", "text": "a""#, 422, "needs a text"),
        ])
    func refused(members: String, status: Int, detail: String) async throws {
        try await withClaim { pipeline, claim in
            let response = try await pipeline.send(
                .PUT, "/api/sessions/\(claim.session)/transcript", "{\(claim.proof)\(members)}")
            expectProblem(response, status, detail: detail)
            #expect(try await pipeline.server.database.query("SELECT FROM app.transcripts").isEmpty)
        }
    }

    @Test("A body that is no object, has no lease, or is not declared as JSON is refused")
    func noObject() async throws {
        try await withClaim { pipeline, claim in
            let path = "/api/sessions/\(claim.session)/notes"
            expectProblem(try await pipeline.send(.PUT, path, "[]"), 422, detail: "object")
            expectProblem(try await pipeline.send(.PUT, path, #"{"attempt": 1}"#), 422, detail: "lease: is missing")
            expectProblem(try await pipeline.send(.PUT, path, #"{"lease": "a"}"#), 422, detail: "attempt: is missing")
            expectProblem(
                try await pipeline.send(.PUT, path, #"{"lease": "a", "attempt": "1"}"#), 422, detail: "attempt: has")
            expectProblem(try await pipeline.send(.PUT, path, "{"), 400, "malformed-request")
            expectProblem(
                try await pipeline.send(.PUT, path, "{}", headers: ["Content-Type": "text/plain"]), 415,
                "unsupported-media")
        }
    }

    @Test("A pipeline gets a recording only under the lease that stands, and others need none")
    func recording() async throws {
        try await withClinic { clinic in
            let pipeline = try await PipelineAccount(clinic.server)
            let upload = try await clinic.upload(
                Upload(patient: clinic.id(.patient), file: .wav(size: 400)), as: .patient)
            #expect(upload.status == 201)
            let claim = try PipelineAccount.Claim(try await pipeline.claim())
            let path = "/api/sessions/\(claim.session)/recording"
            expectProblem(try await pipeline.send(.GET, path), 403, "forbidden")
            expectProblem(try await pipeline.send(.GET, path, headers: ["Pipeline-Lease": "wrong"]), 409, "conflict")
            let whole = try await pipeline.send(.GET, path, headers: ["Pipeline-Lease": claim.lease])
            #expect(whole.status == 200)
            #expect(whole.body.count == 400)
            let part = try await pipeline.send(
                .GET, path, headers: ["Pipeline-Lease": claim.lease, "Range": "bytes=0-3"])
            #expect(part.status == 206)
            #expect(part.text == "RIFF")
            let record = try await clinic.database.audit("action = 'recording.read'").map(\.isAllowed)
            #expect(record.first == false)
            #expect(record.dropFirst().allSatisfy { $0 })

            // The header means nothing for somebody who may hear the recording, and nothing for somebody who may not.
            let headers = ["Pipeline-Lease": "wrong"]
            #expect(try await clinic.request(.GET, path, as: .therapist, headers: headers).status == 200)
            expectProblem(
                try await clinic.request(.GET, path, as: .stranger, headers: ["Pipeline-Lease": claim.lease]), 403,
                "forbidden")

            try await clinic.database.query("UPDATE app.session_leases SET leased_until = now() - interval '1 s'")
            expectProblem(
                try await pipeline.send(.GET, path, headers: ["Pipeline-Lease": claim.lease]), 409, "conflict")
            expectProblem(
                try await pipeline.send(
                    .GET, "/api/sessions/\(SessionID.random())/recording", headers: ["Pipeline-Lease": claim.lease]),
                404, "not-found")
        }
    }
}
