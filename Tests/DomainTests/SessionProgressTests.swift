import Domain
import Foundation
import Testing

@Suite struct SessionProgressTests {
    private func progress(_ change: (inout SessionProgress) -> Void = { _ in }) throws -> SessionProgress {
        var progress = SessionProgress(
            sessionID: try #require(SessionID("550e8400-e29b-41d4-a716-446655440000")), status: .transcribing,
            progress: 45,
            message: "Transcribing audio", error: nil, estimatedTimeRemaining: 30, segments: 12, version: 7, attempt: 1,
            createdAt: try #require(Timestamp(rfc3339: "2026-11-22T09:28:00Z")),
            updatedAt: try #require(Timestamp(rfc3339: "2026-11-22T09:30:00.123456Z")))
        change(&progress)
        return progress
    }

    @Test("The JSON of the progress object is the documented one, member by member")
    func progressObject() throws {
        let documented = """
            {"session_id":"550e8400-e29b-41d4-a716-446655440000","status":"transcribing","progress":45,
             "message":"Transcribing audio","error":null,"estimated_time_remaining":30,"segments":12,"version":7,"attempt":1,
             "created_at":"2026-11-22T09:28:00.000000Z","updated_at":"2026-11-22T09:30:00.123456Z"}
            """
        let encoded = try JSONEncoder().encode(try progress())
        #expect(try object(encoded) == object(Data(documented.utf8)))
        #expect(try JSONDecoder().decode(SessionProgress.self, from: Data(documented.utf8)) == (try progress()))
    }

    @Test("A progress object has a null for an unknown value")
    func nulls() throws {
        let encoded = try JSONEncoder().encode(
            try progress {
                $0.message = nil
                $0.estimatedTimeRemaining = nil
            })
        let keys = try #require(try JSONSerialization.jsonObject(with: encoded) as? [String: Any])
        #expect(keys.count == 11)
        for key in ["message", "error", "estimated_time_remaining"] { #expect(keys[key] is NSNull, "\(key)") }
    }

    @Test("A session object has a null for an unknown value")
    func session() throws {
        let session = TherapySession(
            id: .random(), patientID: .random(), patientName: nil, therapistID: nil, therapistName: nil,
            sessionDate: nil, filename: nil, bytes: nil, durationSeconds: nil, language: nil, createdAt: .now(),
            progress: try progress())
        let keys = try #require(
            try JSONSerialization.jsonObject(with: JSONEncoder().encode(session)) as? [String: Any])
        #expect(
            Set(keys.keys) == [
                "id", "patient_id", "patient_name", "therapist_id", "therapist_name", "session_date", "filename",
                "bytes",
                "duration_seconds", "language", "created_at", "progress",
            ])
        for key in [
            "patient_name", "therapist_id", "therapist_name", "session_date", "filename", "bytes", "duration_seconds",
            "language",
        ] {
            #expect(keys[key] is NSNull, "\(key)")
        }
    }

    @Test("The statuses have the documented names")
    func statuses() {
        #expect(
            SessionStatus.allCases.map(\.rawValue) == [
                "uploading", "pending", "preprocessing", "transcribing", "diarizing", "transcribed", "extracting_notes",
                "processed", "failed",
            ])
        #expect(SessionStatus.allCases.filter(\.isFinished) == [.processed, .failed])
    }

    @Test("A transition makes the progress object of its moment")
    func transition() throws {
        let present = try progress()
        let transition = StatusTransition(
            version: 3, attempt: 1, status: .pending, progress: 20, message: "Waiting", error: nil,
            segments: 5, at: present.createdAt)
        let shown = transition.progress(of: present.sessionID, createdAt: present.createdAt)
        #expect(
            shown
                == SessionProgress(
                    sessionID: present.sessionID, status: .pending, progress: 20, message: "Waiting", error: nil,
                    estimatedTimeRemaining: nil, segments: 5, version: 3, attempt: 1, createdAt: present.createdAt,
                    updatedAt: present.createdAt))
    }

    /// A JSON object for a comparison that ignores the order of members.
    private func object(_ data: Data) throws -> NSDictionary {
        try #require(try JSONSerialization.jsonObject(with: data) as? NSDictionary)
    }
}
