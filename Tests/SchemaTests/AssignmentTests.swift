import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// Rows of `app.therapist_patients`, also when operators write them in psql.
@Suite(.deadline) struct AssignmentTests {
    @Test("A plain UPDATE of is_active sets the end of an assignment, and clears it when the assignment begins again")
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
            #expect(second.isEnded)
            #expect(second.startedAt == first.startedAt)
            try await database.query("UPDATE app.therapist_patients SET is_active = true")
            let third = try await state()
            #expect(!third.isEnded)
            #expect(third.startedAt > first.startedAt)
        }
    }

    @Test("A pair has one row")
    func onePair() async throws {
        try await withDatabase { database in
            let (therapist, patient) = (try await database.addUser(.therapist), try await database.addUser(.patient))
            try await database.assign(therapist, to: patient)
            let error = await #expect(throws: PostgresError.self) { try await database.assign(therapist, to: patient) }
            #expect(error?.sqlState == .uniqueViolation)
        }
    }

    @Test("An assignment is between a therapist and a patient", arguments: Role.allCases, Role.allCases)
    func roles(one: Role, other: Role) async throws {
        try await withDatabase { database in
            let (therapist, patient) = (try await database.addUser(one), try await database.addUser(other))
            try await database.withConnection { connection in
                let refusal = try await connection.refusal(
                    of:
                        "INSERT INTO app.therapist_patients (therapist_id, patient_id) VALUES (\(therapist), \(patient))"
                )
                let isAllowed = one == .therapist && other == .patient
                #expect(refusal == (isAllowed ? nil : .checkViolation))
            }
        }
    }

    @Test(
        "A new assignment waits for a concurrent change of a role, and is refused after it",
        arguments: [true, false])
    func changingRole(isRevived: Bool) async throws {
        try await withDatabase { database in
            let (therapist, patient) = (try await database.addUser(.therapist), try await database.addUser(.patient))
            if isRevived {
                try await database.assign(therapist, to: patient)
                try await database.endAssignment(of: therapist, to: patient)
            }
            let assignment = try await database.withConnection { connection in
                try await connection.withTransaction { connection in
                    _ = try await connection.query("UPDATE app.users SET role = 'admin' WHERE id = \(therapist)")
                    let assignment = Task {
                        try await database.query(
                            """
                            INSERT INTO app.therapist_patients AS a (therapist_id, patient_id)
                            VALUES (\(therapist), \(patient))
                            ON CONFLICT (therapist_id, patient_id) DO UPDATE SET is_active = true WHERE NOT a.is_active
                            """)
                    }
                    try await database.untilSomeoneWaitsForALock()
                    return assignment
                }
            }
            let error = await #expect(throws: PostgresError.self) { try await assignment.value }
            #expect(error?.sqlState == .checkViolation)
            #expect(try await database.query("SELECT FROM app.therapist_patients WHERE is_active").isEmpty)
        }
    }

    @Test("A change of an active assignment does not wait for changes of the accounts")
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

    @Test("Two accounts cannot have the same address in any case")
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
