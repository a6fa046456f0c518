import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// A session that an operator moves to another patient while streams of all sessions show it.
@Suite(.deadline) struct MovedSessionTests {
    @Test("A read for the sessions of some patients has no state of a session that has moved to another one")
    func moved() async throws {
        try await withDatabase { database in
            let (before, after) = (try await database.addUser(.patient), try await database.addUser(.patient))
            let session = try await database.addSession(of: before)
            let version = try await database.report(session, .transcribing, 20)
            try await database.withServerPool(size: 1) { pool in
                let store = ProgressStore(pool: pool)
                func read(_ patients: Set<UserID>?) async throws -> ProgressChanges {
                    try await store.changes(of: [session], after: [0], ofPatients: patients, rightsSince: nil)
                }
                #expect(try await read([before]).changed.map(\.progress.version) == [version])
                try await database.query(
                    "UPDATE app.therapy_sessions SET patient_id = \(after) WHERE id = \(session)")
                let changes = try await read([before])
                #expect(changes.changed.isEmpty)
                #expect(changes.moved == [session])
                for patients in [[after], nil] as [Set<UserID>?] {
                    let changes = try await read(patients)
                    #expect(changes.changed.map(\.progress.version) == [version])
                    #expect(changes.moved == [])
                }
            }
        }
    }
}
