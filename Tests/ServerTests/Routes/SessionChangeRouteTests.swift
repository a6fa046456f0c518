import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite("PATCH /api/sessions/{id}", .deadline) struct SessionChangeRouteTests {
    private func patch(_ clinic: Clinic, _ json: String, as caller: Clinic.Caller = .therapist) async throws
        -> TestResponse
    {
        try await clinic.request(.PATCH, of: "", as: caller, headers: ["Content-Type": "application/json"], body: json)
    }

    @Test("An assigned therapist and an administrator change date and language, and get the session")
    func change() async throws {
        try await withClinic { clinic in
            let first = try await clinic.request(.GET, of: "", as: .therapist).json()
            #expect(first["language"] is NSNull)
            let changed = try await patch(clinic, #"{"language": "DE-at"}"#)
            #expect(changed.status == 200)
            var json = try changed.json()
            #expect(json["language"] as? String == "de-AT")
            #expect(json["session_date"] as? String == first["session_date"] as? String)
            // The progress object, with its version, stays.
            #expect(json["progress"] as? NSDictionary == first["progress"] as? NSDictionary)

            json = try await patch(clinic, #"{"session_date": "2026-11-20T10:00:00+01:00"}"#, as: .admin).json()
            #expect(json["session_date"] as? String == "2026-11-20T09:00:00.000000Z")
            #expect(json["language"] as? String == "de-AT")
            // As in the form, a date is enough.
            json = try await patch(clinic, #"{"session_date": "2026-11-21", "language": "sr-latn"}"#).json()
            #expect(json["session_date"] as? String == "2026-11-21T00:00:00.000000Z")
            #expect(json["language"] as? String == "sr-Latn")
            #expect(try await clinic.request(.GET, of: "", as: .patient).json() as NSDictionary == json as NSDictionary)

            json = try await patch(clinic, #"{"language": null}"#).json()
            #expect(json["language"] is NSNull)
            #expect(json["session_date"] as? String == "2026-11-21T00:00:00.000000Z")
            json = try await patch(clinic, #"{"session_date": null}"#).json()
            #expect(json["session_date"] is NSNull)
            #expect(try await clinic.request(.GET, of: "", as: .patient).json() as NSDictionary == json as NSDictionary)
            let list = try await clinic.request(.GET, "/api/sessions", as: .therapist).json()
            #expect((list["items"] as? [[String: any Sendable]])?.first?["session_date"] is NSNull)
        }
    }

    @Test("A body that changes nothing, or has a wrong or unknown member, gets 422 with the field, and changes nothing")
    func refused() async throws {
        try await withClinic { clinic in
            let before = try await clinic.request(.GET, of: "", as: .therapist).json()
            let cases: [(String, String, String)] = [
                (#"{"language": "de_AT"}"#, "language", "invalid"), (#"{"language": ""}"#, "language", "invalid"),
                (#"{"language": "x"}"#, "language", "invalid"), (#"{"language": 7}"#, "language", "wrong_type"),
                (#"{"language": ["de"]}"#, "language", "wrong_type"),
                (#"{"session_date": "yesterday"}"#, "session_date", "invalid"),
                (#"{"session_date": "2026-02-30"}"#, "session_date", "invalid"),
                (#"{"session_date": "", "language": "de"}"#, "session_date", "invalid"),
                (#"{"session_date": 1764400000}"#, "session_date", "wrong_type"),
                (#"{"filename": "a.wav"}"#, "filename", "unknown"),
                (#"{"langauge": "de", "session_date": null}"#, "langauge", "unknown"),
            ]
            for (body, field, code) in cases {
                let response = try await patch(clinic, body)
                expectProblem(response, 422, "invalid-value", detail: "\(field): ")
                let errors = try response.json()["errors"] as? [[String: String]]
                #expect(errors == [["field": field, "code": code]], "\(body)")
            }
            for body in ["{}", "[]", "7", "null"] {
                let response = try await patch(clinic, body)
                expectProblem(response, 422, "invalid-value")
                #expect((try response.json()["errors"] as? [Any])?.isEmpty == true, "\(body)")
            }
            expectProblem(try await patch(clinic, "{"), 400, "malformed-request")
            let form = try await clinic.request(
                .PATCH, of: "", as: .therapist, headers: ["Content-Type": "text/plain"], body: #"{"language": "de"}"#)
            expectProblem(form, 415, "unsupported-media")
            let after = try await clinic.request(.GET, of: "", as: .therapist).json()
            #expect(after as NSDictionary == before as NSDictionary)
        }
    }

    @Test("Every change and every refusal is in the audit log, under an action of its own")
    func audit() async throws {
        try await withClinic { clinic in
            #expect(try await patch(clinic, #"{"language": "de"}"#).status == 200)
            #expect(try await patch(clinic, #"{"language": "fr"}"#).status == 200)
            expectProblem(try await patch(clinic, #"{"language": "en"}"#, as: .patient), 403, "forbidden")
            let records = try await clinic.database.audit("action = 'session.change'")
            #expect(records.map(\.isAllowed) == [true, true, false])
            #expect(records.map(\.user) == [clinic.id(.therapist), clinic.id(.therapist), clinic.id(.patient)])
            #expect(Set(records.map(\.session)) == [clinic.session])
            #expect(Set(records.map(\.patient)) == [clinic.id(.patient)])
            #expect(try await clinic.request(.GET, of: "", as: .admin).json()["language"] as? String == "fr")
        }
    }

    @Test("A session in any status can be changed, and its progress stays as it is")
    func anyStatus() async throws {
        try await withClinic { clinic in
            for (status, error) in [("uploading", nil), ("pending", nil), ("transcribing", nil), ("failed", "x")]
                as [(String, String?)]
            {
                try await clinic.database.query(
                    """
                    UPDATE app.session_progress SET status = \(status), error = \(error)
                    WHERE session_id = \(clinic.session.rawValue)
                    """)
                let before = try await clinic.progress(of: clinic.session)
                #expect(try await patch(clinic, #"{"language": "de"}"#).status == 200, "\(status)")
                #expect(try await clinic.progress(of: clinic.session) as NSDictionary == before as NSDictionary)
            }
        }
    }
}
