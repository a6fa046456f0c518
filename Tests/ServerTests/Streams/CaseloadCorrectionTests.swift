import Domain
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// A correction moves a session to another patient.
///
/// Users who see only the former patient lose the session.
@Suite("The stream of all sessions, when a session turns out to be somebody else's", .deadline)
struct CaseloadCorrectionTests {
    @Test("A session that moves to another patient is removed from the stream of all sessions")
    func moved() async throws {
        try await withServer(["SSE_UPDATE_INTERVAL": "3600"]) { server in
            let scene = try await CaseloadStreamTests.Scene(server)
            let session = try await scene.database.addSession(of: scene.patients[0])
            let kept = try await scene.database.addSession(of: scene.patients[1])
            try await scene.follow { _, reader in
                try await scene.database.query(
                    """
                    UPDATE app.therapy_sessions SET patient_id = \(scene.stranger.rawValue)
                    WHERE id = \(session.rawValue)
                    """)
                let removed = try await reader.next("session_removed")
                #expect(removed.data == "{\"session_id\":\"\(session)\"}")
                try await scene.database.report(session, .transcribing, 20)
                // The rights change again, and the server reads the caseload again.
                try await scene.database.endAssignment(of: scene.therapist, to: scene.patients[0])
                try await scene.database.report(kept, .transcribing, 20)
                let next = try await reader.next("progress")
                #expect(try next.json()["session_id"] as? String == kept.description)
            }
        }
    }
}
