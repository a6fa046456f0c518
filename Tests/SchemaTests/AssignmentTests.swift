import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// Rows of `app.therapist_patients`, as operators also write them by hand.
@Suite(.deadline) struct AssignmentTests {
    @Test("an end gets its time and a new beginning loses it, by a plain UPDATE of is_active")
    func times() async throws {
        try await withDatabase { database in
            let (therapist, patient) = (try await database.addUser(.therapist), try await database.addUser(.patient))
            try await database.assign(therapist, to: patient)
            func state() async throws -> (isEnded: Bool, startedAt: Timestamp) {
                let row = try await database.query(
                    "SELECT ended_at IS NOT NULL AS e, started_at FROM app.therapist_patients")[0]
                return (try row.decode("e", as: Bool.self), try row.decode("started_at", as: Timestamp.self))
            }
            let first = try await state()
            #expect(!first.isEnded)
            try await database.endAssignment(of: therapist, to: patient)
            let second = try await state()
            #expect(second.isEnded && second.startedAt == first.startedAt)
            try await database.query("UPDATE app.therapist_patients SET is_active = true")
            let third = try await state()
            #expect(!third.isEnded && third.startedAt > first.startedAt)
        }
    }

    @Test("a pair has one row")
    func onePair() async throws {
        try await withDatabase { database in
            let (therapist, patient) = (try await database.addUser(.therapist), try await database.addUser(.patient))
            try await database.assign(therapist, to: patient)
            let error = await #expect(throws: PostgresError.self) { try await database.assign(therapist, to: patient) }
            #expect(error?.sqlState == .uniqueViolation)
        }
    }

    @Test("a tie is between a therapist and a patient", arguments: Role.allCases, Role.allCases)
    func roles(one: Role, other: Role) async throws {
        try await withDatabase { database in
            let (therapist, patient) = (try await database.addUser(one), try await database.addUser(other))
            try await database.withConnection { connection in
                let refusal = try await connection.refusal(
                    of:
                        "INSERT INTO app.therapist_patients (therapist_id, patient_id) VALUES (\(therapist), \(patient))"
                )
                #expect(refusal == (one == .therapist && other == .patient ? nil : .checkViolation))
            }
        }
    }

    @Test(
        "a tie does not begin while a role is being changed, but waits for what comes of that",
        arguments: [true, false])
    func changingRole(isRevived: Bool) async throws {
        try await withDatabase { database in
            let (therapist, patient) = (try await database.addUser(.therapist), try await database.addUser(.patient))
            if isRevived {
                try await database.assign(therapist, to: patient)
                try await database.endAssignment(of: therapist, to: patient)
            }
            let tie = try await database.withConnection { connection in
                try await connection.withTransaction { connection in
                    _ = try await connection.query("UPDATE app.users SET role = 'admin' WHERE id = \(therapist)")
                    let tie = Task {
                        try await database.query(
                            """
                            INSERT INTO app.therapist_patients AS t (therapist_id, patient_id)
                            VALUES (\(therapist), \(patient))
                            ON CONFLICT (therapist_id, patient_id) DO UPDATE SET is_active = true WHERE NOT t.is_active
                            """)
                    }
                    try await database.untilSomeoneWaitsForALock()
                    return tie
                }
            }
            let error = await #expect(throws: PostgresError.self) { try await tie.value }
            #expect(error?.sqlState == .checkViolation)
            #expect(try await database.query("SELECT FROM app.therapist_patients WHERE is_active").isEmpty)
        }
    }

    @Test("what is changed of an assignment that goes on waits for nobody who changes the accounts")
    func goingOn() async throws {
        try await withDatabase { database in
            let (therapist, patient) = (try await database.addUser(.therapist), try await database.addUser(.patient))
            try await database.assign(therapist, to: patient)
            try await database.withConnection { connection in
                try await connection.withTransaction { connection in
                    _ = try await connection.query("SELECT FROM app.users ORDER BY id FOR NO KEY UPDATE")
                    for change in ["started_at = now()", "is_active = false"] {
                        try await database.query("UPDATE app.therapist_patients SET \(unescaped: change)")
                    }
                }
            }
        }
    }

    @Test("two accounts cannot share an address, whatever its case")
    func addresses() async throws {
        try await withDatabase { database in
            _ = try await database.addUser(.patient, email: "ann@test.example")
            let error = await #expect(throws: PostgresError.self) {
                try await database.addUser(.therapist, email: "Ann@Test.example")
            }
            #expect(error?.sqlState == .uniqueViolation)
        }
    }
}
