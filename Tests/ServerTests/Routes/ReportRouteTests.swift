import Domain
import Foundation
import NIOHTTP1
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct ReportRouteTests {
    private func report(_ clinic: Clinic, _ json: String, as caller: Clinic.Caller = .pipeline) async throws
        -> TestResponse
    {
        try await clinic.post("/api/sessions/\(clinic.session)/progress", json, as: caller)
    }

    @Test("A report returns the new state of the session", arguments: [Clinic.Caller.pipeline, .admin])
    func reports(_ caller: Clinic.Caller) async throws {
        try await withClinic { clinic in
            let response = try await report(
                clinic, #"{"status":"transcribing","progress":45,"message":"Zeile\n1","estimated_time_remaining":30}"#,
                as: caller)
            #expect(response.status == 200)
            let json = try response.json()
            #expect(json["status"] as? String == "transcribing")
            #expect(json["progress"] as? Int == 45)
            #expect(json["message"] as? String == "Zeile 1")
            #expect(json["estimated_time_remaining"] as? Int == 30)
            #expect(json["version"] as? Int == 2)
            #expect(
                try await clinic.request(.GET, of: "/status", as: .patient).json() as NSDictionary == json
                    as NSDictionary)
        }
    }

    @Test("A stale report does not change the version")
    func stale() async throws {
        try await withClinic { clinic in
            _ = try await report(clinic, #"{"status":"transcribing","progress":45,"message":"a"}"#)
            for json in [
                #"{"status":"transcribing","progress":45,"message":"a"}"#,
                #"{"status":"transcribing","progress":44,"message":"b"}"#,
                #"{"status":"transcribing","progress":45}"#,
            ] {
                let response = try await report(clinic, json)
                #expect(response.status == 200)
                #expect(try response.json()["version"] as? Int == 2, "\(json)")
            }
            let changed = try await report(
                clinic, #"{"status":"transcribing","progress":45,"message":"b","attempt":1}"#)
            #expect(try changed.json()["version"] as? Int == 3)
        }
    }

    @Test("A message keeps its first 2,000 characters")
    func longMessage() async throws {
        try await withClinic { clinic in
            let message = String(repeating: "ä", count: 5000)
            let response = try await report(clinic, #"{"status":"transcribing","progress":1,"message":"\#(message)"}"#)
            #expect(try response.json()["message"] as? String == String(message.prefix(2000)))
        }
    }

    @Test("A report that the state machine forbids gets 409")
    func forbiddenByStateMachine() async throws {
        try await withClinic { clinic in
            for status in ["diarizing", "transcribed", "extracting_notes", "processed"] {
                let response = try await report(clinic, #"{"status":"\#(status)","progress":50}"#)
                expectProblem(response, 409, "conflict", detail: status)
            }
            // The attempt has not begun.
            let ahead = try await report(clinic, #"{"status":"transcribing","progress":50,"attempt":2}"#)
            expectProblem(ahead, 409, "conflict")
            // A processed session stays processed.
            try await clinic.database.report(clinic.session, .transcribing, 30)
            try await clinic.database.report(clinic.session, .transcribed, 60)
            try await clinic.database.report(clinic.session, .processed, 100)
            for status in ["pending", "transcribing", "failed"] {
                expectProblem(try await report(clinic, #"{"status":"\#(status)","progress":50}"#), 409, "conflict")
            }
            #expect(try await clinic.request(.GET, of: "/status", as: .patient).json()["version"] as? Int == 4)
        }
    }

    @Test("A missing, mistyped or out-of-range member gets 422 with its name")
    func invalid() async throws {
        try await withClinic { clinic in
            let table = [
                (#"{"progress":50}"#, "status"), (#"{"status":"transcribing"}"#, "progress"),
                (#"{"status":"done","progress":50}"#, "status"), (#"{"status":"","progress":50}"#, "status"),
                (#"{"status":"PENDING","progress":50}"#, "status"), (#"{"status":1,"progress":50}"#, "status"),
                (#"{"status":"transcribing","progress":101}"#, "progress"),
                (#"{"status":"transcribing","progress":-1}"#, "progress"),
                (#"{"status":"transcribing","progress":4.5}"#, "progress"),
                (#"{"status":"transcribing","progress":"50"}"#, "progress"),
                (#"{"status":"transcribing","progress":null}"#, "progress"),
                (#"{"status":"transcribing","progress":5000000000}"#, "progress"),
                (#"{"status":"transcribing","progress":1e30}"#, "progress"),
                (#"{"status":"transcribing","progress":50,"message":1}"#, "message"),
                (#"{"status":"transcribing","progress":50,"message":"a\u0000b"}"#, "message"),
                (#"{"status":"failed","progress":50,"error":"a\u0000b"}"#, "error"),
                (#"{"status":"transcribing","progress":50,"estimated_time_remaining":-1}"#, "estimated_time_remaining"),
                (
                    #"{"status":"transcribing","progress":50,"estimated_time_remaining":5000000000}"#,
                    "estimated_time_remaining"
                ),
                (#"{"status":"transcribing","progress":50,"attempt":0}"#, "attempt"),
                (#"{"status":"transcribing","progress":50,"attempt":"1"}"#, "attempt"),
            ]
            for (json, name) in table {
                let response = try await report(clinic, json)
                expectProblem(response, 422, "invalid-value", "\(json)")
                let detail = try response.json()["detail"] as? String ?? ""
                #expect(detail.hasPrefix("\(name): "), "\(json): \(detail)")
            }
            #expect(try await clinic.request(.GET, of: "/status", as: .patient).json()["version"] as? Int == 1)
        }
    }
}
