import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite("GET /api/sessions/{id}/status", .deadline)
struct StatusTests {
    @Test("The status is the progress object, and its entity tag gets 304 until a change")
    func entityTag() async throws {
        try await withClinic { clinic in
            func status(_ known: String? = nil) async throws -> TestResponse {
                try await clinic.request(
                    .GET, of: "/status", as: .patient, headers: known.map { ["If-None-Match": $0] } ?? [:])
            }
            let first = try await status()
            #expect(first.status == 200)
            let json = try first.json()
            #expect(
                Set(json.keys) == [
                    "session_id", "status", "progress", "message", "error", "estimated_time_remaining", "version",
                    "attempt",
                    "created_at", "updated_at",
                ])
            #expect(json["session_id"] as? String == clinic.session.description)
            #expect(json["status"] as? String == "pending")
            #expect(json["progress"] as? Int == 0)
            #expect(json["version"] as? Int == 1)
            #expect(json["attempt"] as? Int == 1)
            for name in ["created_at", "updated_at"] {
                let time = try #require(json[name] as? String)
                #expect(time.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z/) != nil, "\(time)")
            }
            let tag = try #require(first.headers.first(name: "ETag"))
            #expect(tag.wholeMatch(of: /"[^"]+"/) != nil)

            for known in [tag, "W/\(tag)", "\"x\", \(tag)", "*"] {
                let response = try await status(known)
                #expect(response.status == 304, "\(known)")
                #expect(response.body.isEmpty)
                #expect(response.headers["ETag"] == [tag])
                #expect(!response.headers["X-Request-Id"].isEmpty)
            }
            #expect(try await status("\"x\"").status == 200)

            try await clinic.database.report(clinic.session, .transcribing, 30, message: "Transcribing")
            let second = try await status(tag)
            #expect(second.status == 200)
            #expect(second.headers.first(name: "ETag") != tag)
            #expect(try second.json()["progress"] as? Int == 30)
        }
    }
}

@Suite("GET /api/sessions/{id}/events", .deadline)
struct EventListTests {
    @Test("The list of events has the transitions, oldest first, and no percentages")
    func transitions() async throws {
        try await withClinic { clinic in
            try await clinic.database.report(clinic.session, .transcribing, 30, message: "Transcribing")
            try await clinic.database.report(clinic.session, .transcribing, 45)
            try await clinic.database.report(clinic.session, .failed, 45, error: "No speech was found.")
            let json = try await clinic.request(.GET, of: "/events", as: .patient).json()
            #expect(Set(json.keys) == ["items"])
            let items = try #require(json["items"] as? [[String: any Sendable]])
            for item in items {
                #expect(Set(item.keys) == ["version", "attempt", "status", "progress", "message", "error", "at"])
            }
            #expect(items.map { $0["status"] as? String } == ["pending", "transcribing", "failed"])
            #expect(items.map { $0["version"] as? Int } == [1, 2, 4])
            #expect(items.map { $0["progress"] as? Int } == [0, 30, 45])
            #expect(items.map { $0["message"] as? String } == [nil, "Transcribing", nil])
            #expect(items.map { $0["error"] as? String } == [nil, nil, "No speech was found."])
        }
    }
}

@Suite("Transcript and notes", .deadline)
struct ResultTests {
    @Test("Transcript and notes get 404 until the pipeline stores them")
    func results() async throws {
        try await withClinic { clinic in
            expectProblem(try await clinic.request(.GET, of: "/transcript", as: .patient), 404, "not-found")
            expectProblem(try await clinic.request(.GET, of: "/notes", as: .therapist), 404, "not-found")

            let transcript =
                #"{"text": "Grüß Gott", "segments": [{"start": 0.5, "end": 2, "text": "Grüß Gott", "speaker": "A"}]}"#
            let notes = #"{"summary": "Es geht besser.", "risks": []}"#
            try await clinic.database.query(
                "SELECT app.store_transcript(\(clinic.session.rawValue), 1, \(PostgresJSON(text: transcript)))",
                as: "therapybridge_pipeline")
            try await clinic.database.query(
                "SELECT app.store_notes(\(clinic.session.rawValue), 1, \(PostgresJSON(text: notes)))",
                as: "therapybridge_pipeline")

            for (path, who, stored) in [
                ("/transcript", Clinic.Who.patient, transcript), ("/transcript", .therapist, transcript),
                ("/notes", .therapist, notes), ("/notes", .admin, notes),
            ] {
                let response = try await clinic.request(.GET, of: path, as: who)
                #expect(response.status == 200)
                #expect(response.headers["Content-Type"] == ["application/json; charset=utf-8"])
                #expect(response.headers["Cache-Control"] == ["no-store"])
                let expected = try JSONSerialization.jsonObject(with: Data(stored.utf8)) as? NSDictionary
                #expect(try response.json() as NSDictionary == expected)
            }
            // The patient never sees the notes.
            expectProblem(try await clinic.request(.GET, of: "/notes", as: .patient), 403, "forbidden")
        }
    }
}

@Suite("POST /api/sessions/{id}/retry", .deadline)
struct RetryTests {
    @Test("A retry sends a failed session back to pending, once")
    func retry() async throws {
        try await withClinic { clinic in
            expectProblem(
                try await clinic.request(.POST, of: "/retry", as: .therapist), 409, "conflict", detail: "failed")
            try await clinic.database.report(clinic.session, .transcribing, 40)
            try await clinic.database.report(clinic.session, .failed, 40, error: "broken")
            // The session has no recording.
            expectProblem(
                try await clinic.request(.POST, of: "/retry", as: .therapist), 409, "conflict", detail: "recording")

            try await clinic.database.query(
                "UPDATE app.therapy_sessions SET recording = 'x.mp3' WHERE id = \(clinic.session.rawValue)")
            let response = try await clinic.request(.POST, of: "/retry", as: .therapist)
            #expect(response.status == 202)
            let json = try response.json()
            #expect(json["status"] as? String == "pending")
            #expect(json["progress"] as? Int == 20)
            #expect(json["attempt"] as? Int == 2)
            #expect(json["error"] is NSNull)
            #expect(
                try await clinic.request(.GET, of: "/status", as: .patient).json() as NSDictionary == json
                    as NSDictionary)

            expectProblem(try await clinic.request(.POST, of: "/retry", as: .admin), 409, "conflict")
        }
    }
}

@Suite("DELETE /api/sessions/{id}", .deadline)
struct DeletionTests {
    @Test(
        "A deletion removes the session, its recording, its transcript and its notes",
        arguments: [Clinic.Who.therapist, .admin])
    func delete(_ who: Clinic.Who) async throws {
        try await withClinic { clinic in
            let upload = Upload(patient: clinic.id(.patient), file: .wav)
            let response = try await clinic.upload(upload, as: .therapist)
            #expect(response.status == 201)
            let id = try #require((try response.json()["id"] as? String).flatMap { SessionID($0) })
            try await clinic.database.query(
                "SELECT app.store_transcript(\(id.rawValue), 1, '{\"text\":\"\",\"segments\":[]}'), app.store_notes(\(id.rawValue), 1, '{}')"
            )
            #expect(try clinic.storedFiles().count == 1)

            let path = "/api/sessions/\(id)"
            #expect(try await clinic.request(.DELETE, path, as: who).status == 204)
            #expect(try clinic.storedFiles() == [])
            for table in [
                "therapy_sessions", "session_progress", "session_events", "transcripts", "notes", "session_leases",
            ] {
                let column = table == "therapy_sessions" ? "id" : "session_id"
                let rows = try await clinic.database.query(
                    "SELECT FROM app.\(unescaped: table) WHERE \(unescaped: column) = \(id.rawValue)")
                #expect(rows.count == 0, "\(table)")
            }
            expectProblem(try await clinic.request(.GET, path, as: who), 404, "not-found")
            expectProblem(try await clinic.request(.DELETE, path, as: who), 404, "not-found")
            // The other session still exists.
            #expect(try await clinic.request(.GET, of: "", as: who).status == 200)
        }
    }
}
