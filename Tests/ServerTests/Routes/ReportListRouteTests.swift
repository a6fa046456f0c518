import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// POST /api/progress: many reports in one request.
@Suite(.deadline) struct ReportListRouteTests {
    private func report(_ clinic: Clinic, _ reports: [String], as caller: Clinic.Caller = .pipeline) async throws
        -> TestResponse
    {
        try await clinic.post("/api/progress", #"{"reports":[\#(reports.joined(separator: ","))]}"#, as: caller)
    }

    private func entry(_ session: SessionID, _ rest: String) -> String { #"{"session_id":"\#(session)",\#(rest)}"# }

    private func results(_ response: TestResponse) throws -> [[String: any Sendable]] {
        #expect(response.status == 200, "\(response.text)")
        return try #require(try response.json()["results"] as? [[String: any Sendable]])
    }

    private func addSessions(_ count: Int, _ clinic: Clinic) async throws -> [SessionID] {
        try await clinic.database.query(
            """
            INSERT INTO app.therapy_sessions (patient_id)
            SELECT \(clinic.id(.patient).rawValue) FROM generate_series(1, \(Int32(count))) RETURNING id
            """
        ).map { SessionID(rawValue: try $0.decode("id", as: UUID.self)) }
    }

    @Test(
        "Each report gets its version or its error, in the order of the request",
        arguments: [Clinic.Caller.pipeline, .admin])
    func answers(_ caller: Clinic.Caller) async throws {
        try await withClinic { clinic in
            let (other, unknown) = (try await addSessions(1, clinic)[0], SessionID.random())
            let results = try results(
                try await report(
                    clinic,
                    [
                        entry(clinic.session, #""status":"transcribing","progress":20"#),
                        entry(unknown, #""status":"transcribing","progress":20"#),
                        entry(other, #""status":"processed","progress":20"#),
                        entry(clinic.session, #""status":"transcribing","progress":30,"message":"m""#),
                        entry(clinic.session, #""status":"transcribing","progress":29"#),
                        entry(other, #""status":"transcribing","progress":101"#),
                        #"{"session_id":"\#(other.description.uppercased())","status":"transcribing","progress":5}"#,
                    ], as: caller))
            let sessions = [clinic.session, unknown, other, clinic.session, clinic.session, other, other]
            #expect(results.map { $0["session_id"] as? String } == sessions.map(\.description))
            #expect(results.map { $0["version"] as? Int } == [2, nil, nil, 3, 3, nil, 2])
            let errors = results.map { $0["error"] as? [String: any Sendable] }
            #expect(errors.map { $0?["status"] as? Int } == [nil, 404, 409, nil, nil, 422, nil])
            for (result, error) in zip(results, errors) {
                #expect(Set(result.keys) == ["session_id", error == nil ? "version" : "error"])
                if let error { #expect(Set(error.keys) == ["type", "title", "status", "detail"]) }
            }
            let present = try await clinic.request(.GET, of: "/status", as: .patient).json()
            #expect(present["progress"] as? Int == 30)
            #expect(present["message"] as? String == "m")
        }
    }

    @Test("A report in a list is rejected with the same problem as a single report")
    func likeAlone() async throws {
        try await withClinic { clinic in
            let unknown = SessionID.random()
            let table = [
                (clinic.session, #""status":"done","progress":5"#),
                (clinic.session, #""status":"processed","progress":5"#),
                (clinic.session, #""status":"transcribing","progress":101"#),
                (clinic.session, #""status":"transcribing","progress":-1"#),
                (clinic.session, #""status":"transcribing","progress":5000000000"#),
                (clinic.session, #""status":"transcribing","progress":5,"message":"a\u0000b""#),
                (clinic.session, #""status":"transcribing","progress":5,"estimated_time_remaining":-1"#),
                (clinic.session, #""status":"transcribing","progress":5,"estimated_time_remaining":5000000000"#),
                (clinic.session, #""status":"transcribing","progress":5,"attempt":0"#),
                (clinic.session, #""status":"transcribing","progress":5,"attempt":2"#),
                (unknown, #""status":"transcribing","progress":5"#),
                (unknown, #""status":"transcribing","progress":101"#),
            ]
            let results = try results(try await report(clinic, table.map { entry($0, $1) }))
            #expect(results.count == table.count)
            for ((session, rest), result) in zip(table, results) {
                var alone = try await clinic.post("/api/sessions/\(session)/progress", "{\(rest)}", as: .pipeline)
                    .json()
                #expect(alone.removeValue(forKey: "request_id") != nil, "\(rest)")
                // The detail of an entry begins with the member. An answer alone names it in `errors`, too.
                #expect((alone.removeValue(forKey: "errors") != nil) == (alone["status"] as? Int == 422), "\(rest)")
                let error = try #require(result["error"] as? [String: any Sendable])
                #expect(alone as NSDictionary == error as NSDictionary, "\(rest)")
            }
        }
    }

    @Test("A malformed report is rejected with its index and member, and the other reports are written")
    func shapes() async throws {
        try await withClinic { clinic in
            let good = entry(clinic.session, #""status":"transcribing","progress":5"#)
            let table = [
                ("{}", "session_id"), ("1", ""), ("null", ""), ("[]", ""), (#""x""#, ""),
                (#"{"session_id":"x","status":"transcribing","progress":5}"#, "session_id"),
                (#"{"session_id":null,"status":"transcribing","progress":5}"#, "session_id"),
                (#"{"session_id":7,"status":"transcribing","progress":5}"#, "session_id"),
                (entry(clinic.session, #""progress":5"#), "status"),
                (entry(clinic.session, #""status":1,"progress":5"#), "status"),
                (entry(clinic.session, #""status":"transcribing""#), "progress"),
                (entry(clinic.session, #""status":"transcribing","progress":"5""#), "progress"),
                (entry(clinic.session, #""status":"transcribing","progress":4.5"#), "progress"),
                (entry(clinic.session, #""status":"transcribing","progress":1e30"#), "progress"),
                (entry(clinic.session, #""status":"transcribing","progress":5,"message":{}"#), "message"),
                (entry(clinic.session, #""status":"transcribing","progress":5,"attempt":"1""#), "attempt"),
            ]
            let results = try results(try await report(clinic, table.map(\.0) + [good]))
            #expect(results.last?["version"] as? Int == 2)
            for (place, ((json, member), result)) in zip(table, results).enumerated() {
                let error = try #require(result["error"] as? [String: any Sendable], "\(json)")
                #expect(error["status"] as? Int == 422, "\(json)")
                #expect(error["type"] as? String == "/problems/invalid-value", "\(json)")
                let name = "reports[\(place)]\(member.isEmpty ? "" : ".")\(member): "
                #expect((error["detail"] as? String)?.hasPrefix(name) == true, "\(json): \(error)")
                let session = json.contains(clinic.session.description) ? clinic.session.description : nil
                #expect(result["session_id"] as? String == session)
                #expect(result.keys.contains("session_id"))
            }
            // Also if no report of the list is valid.
            #expect(try self.results(try await report(clinic, ["1", "{}"])).count == 2)
        }
    }

    @Test("A request takes a thousand reports with long messages, and rejects more")
    func thousand() async throws {
        try await withClinic { clinic in
            let sessions = try await addSessions(1000, clinic)
            let message = String(repeating: "ä", count: 2000)
            let reports = sessions.map {
                entry($0, #""status":"transcribing","progress":5,"message":"\#(message)""#)
            }
            let results = try results(try await report(clinic, reports))
            #expect(results.map { $0["session_id"] as? String } == sessions.map(\.description))
            #expect(results.allSatisfy { $0["version"] as? Int == 2 })
            let tooMany = Array(repeating: entry(clinic.session, #""status":"transcribing","progress":5"#), count: 1001)
            expectProblem(try await report(clinic, tooMany), 422, "invalid-value", detail: "reports: ")
            expectProblem(
                try await report(clinic, Array(repeating: "1", count: 90_000)), 422, "invalid-value",
                detail: "reports: ")
            expectProblem(try await report(clinic, Array(repeating: "1", count: 250_000)), 413, "too-large")
            expectProblem(
                try await report(clinic, ["\"" + String(repeating: "x", count: 4 << 20) + "\""]), 413, "too-large")
            #expect(try await clinic.request(.GET, of: "/status", as: .patient).json()["version"] as? Int == 1)
        }
    }

    @Test("A body that is not a list of reports is rejected as a whole")
    func wholeBody() async throws {
        try await withClinic { clinic in
            for body in [
                "{}", #"{"reports":null}"#, #"{"reports":{}}"#, #"{"reports":1}"#, #"{"reports":[]}"#,
                #"{"report":[]}"#,
            ] {
                let response = try await clinic.post("/api/progress", body, as: .admin)
                expectProblem(response, 422, "invalid-value", detail: "reports: ", "\(body)")
            }
            for body in ["[]", "1", "null", "\"x\""] {
                expectProblem(try await clinic.post("/api/progress", body, as: .admin), 422, "invalid-value", "\(body)")
            }
            for body in ["{", "", #"{"reports":[}"#, #"{"reports":[]}x"#, #"{"reports":[{"session_id":"]}"#] {
                expectProblem(
                    try await clinic.post("/api/progress", body, as: .admin), 400, "malformed-request", "\(body)")
            }
            let response = try await clinic.request(
                .POST, "/api/progress", as: .admin, headers: ["Content-Type": "text/plain"], body: "{}")
            expectProblem(response, 415, "unsupported-media")
        }
    }

    @Test("A caller who may not report gets 403, even for an empty list")
    func forbidden() async throws {
        try await withClinic { clinic in
            let good = entry(clinic.session, #""status":"transcribing","progress":5"#)
            for caller in Clinic.Caller.allCases where caller != .pipeline && caller != .admin {
                expectProblem(try await report(clinic, [good], as: caller), 403, "forbidden", "\(caller)")
                expectProblem(try await report(clinic, [], as: caller), 403, "forbidden", "\(caller)")
            }
            #expect(try await clinic.request(.GET, of: "/status", as: .patient).json()["version"] as? Int == 1)
        }
    }

    /// The race between a revocation and reports that wait for the lock of their session.
    @Test(
        "If the right ends before the reports are written, all of them are refused",
        arguments: [
            ("UPDATE app.auth_sessions SET revoked_at = now()", 401, "unauthorized"),
            ("UPDATE app.users SET is_active = false", 403, "account-inactive"),
            // A new role ends the sign-ins of the account.
            ("UPDATE app.users SET role = 'patient' WHERE role = 'pipeline'", 401, "unauthorized"),
        ])
    func revoked(change: String, status: Int, type: String) async throws {
        try await withClinic { clinic in
            try await clinic.database.letBatchesWait()
            try await clinic.database.withConnection { holder in
                try await holder.executeScript("BEGIN")
                _ = try await holder.query(
                    "SELECT FROM app.session_progress WHERE session_id = \(clinic.session.rawValue) FOR UPDATE")
                let good = entry(clinic.session, #""status":"transcribing","progress":5"#)
                async let many = report(clinic, [good, "1"])
                try await clinic.database.untilSomeoneWaitsForALock()
                async let single = clinic.post(
                    "/api/sessions/\(clinic.session)/progress", #"{"status":"transcribing","progress":5}"#,
                    as: .pipeline)
                try await clinic.database.query(PostgresQuery(unescaped: change))
                try await holder.executeScript("COMMIT")
                expectProblem(try await many, status, type)
                expectProblem(try await single, status, type)
            }
            let version = try await clinic.database.query(
                "SELECT version FROM app.session_progress WHERE session_id = \(clinic.session.rawValue)")
            #expect(try version[0].decode(0, as: Int64.self) == 1)
        }
    }

    @Test("A session that another transaction locks gets 503, and the other reports are written")
    func heldSession() async throws {
        try await withClinic { clinic in
            let other = try await addSessions(1, clinic)[0]
            try await clinic.database.withConnection { holder in
                try await holder.executeScript("BEGIN")
                _ = try await holder.query(
                    "SELECT FROM app.session_progress WHERE session_id = \(clinic.session.rawValue) FOR UPDATE")
                let results = try results(
                    try await report(
                        clinic, [clinic.session, other].map { entry($0, #""status":"transcribing","progress":5"#) }))
                #expect(results[1]["version"] as? Int == 2)
                let error = try #require(results[0]["error"] as? [String: any Sendable])
                #expect(error["status"] as? Int == 503)
                #expect(error["type"] as? String == "/problems/unavailable")
                let single = try await clinic.post(
                    "/api/sessions/\(clinic.session)/progress", #"{"status":"transcribing","progress":5}"#,
                    as: .pipeline)
                expectProblem(single, 503, "unavailable")
                try await holder.executeScript("ROLLBACK")
                let later = try await report(clinic, [entry(clinic.session, #""status":"transcribing","progress":5"#)])
                #expect(try self.results(later)[0]["version"] as? Int == 2)
            }
        }
    }

    @Test("If the database rejects the whole batch, the request gets 503, and later reports are written")
    func databaseRefuses() async throws {
        try await withClinic { clinic in
            let good = entry(clinic.session, #""status":"transcribing","progress":5"#)
            try await clinic.database.withConnection { holder in
                try await holder.executeScript("BEGIN")
                try await holder.executeScript("LOCK TABLE app.session_progress IN ACCESS EXCLUSIVE MODE")
                expectProblem(try await report(clinic, [good, good]), 503, "unavailable")
                try await holder.executeScript("ROLLBACK")
            }
            #expect(try results(try await report(clinic, [good]))[0]["version"] as? Int == 2)
        }
    }

    @Test("Parallel reports of many clients each get a version of their own")
    func manyClients() async throws {
        try await withClinic { clinic in
            let versions = try await withThrowingTaskGroup(of: [Int].self) { group in
                for client in 0..<12 {
                    group.addTask {
                        if client.isMultiple(of: 3) {
                            let reports = (0..<10).map {
                                entry(
                                    clinic.session,
                                    #""status":"transcribing","progress":5,"message":"\#(client)/\#($0)""#)
                            }
                            return try results(try await report(clinic, reports)).compactMap { $0["version"] as? Int }
                        }
                        var versions: [Int] = []
                        for turn in 0..<10 {
                            let message = "\(client)/\(turn)"
                            let response = try await clinic.post(
                                "/api/sessions/\(clinic.session)/progress",
                                #"{"status":"transcribing","progress":5,"message":"\#(message)"}"#, as: .pipeline)
                            let json = try response.json()
                            #expect(json["message"] as? String == message)
                            versions.append(try #require(json["version"] as? Int))
                        }
                        return versions
                    }
                }
                var all: [Int] = []
                for try await own in group {
                    #expect(own == own.sorted())
                    all += own
                }
                return all
            }
            #expect(versions.sorted() == Array(2..<122))
        }
    }

    @Test("A stream sends every transition of a request, several of one session too")
    func stream() async throws {
        try await withStreamScene { scene in
            let pipeline = try await scene.server.token(try await scene.database.addUser(.pipeline))
            let steps = [
                ("preprocessing", 20), ("transcribing", 20), ("transcribing", 30), ("diarizing", 55),
                ("transcribed", 60), ("extracting_notes", 60), ("processed", 100),
            ]
            let events = try await scene.withStream { events in
                _ = try await events.next("progress")
                let reports = steps.map { entry(scene.session, #""status":"\#($0)","progress":\#($1)"#) }
                let response = try await scene.server.post(
                    "/api/progress", #"{"reports":[\#(reports.joined(separator: ","))]}"#, token: pipeline)
                #expect(try results(response).map { $0["version"] as? Int } == Array(2...8))
                return try await events.events(upTo: 8)
            }
            #expect(try await scene.transitions(after: 1) == [2, 3, 5, 6, 7, 8])
            #expect(Set(events.compactMap(\.version)).isSuperset(of: [2, 3, 5, 6, 7, 8]))
            #expect(events.last?.event == "complete")
            try expectInOrder(events)
        }
    }
}
