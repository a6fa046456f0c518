import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The accounts and assignments that the server's role sees and changes, for an acting user.
@Suite(.deadline) struct UserSecurityTests {
    @Test("Accounts and assignments have row-level security, forced for the owner")
    func forced() async throws {
        try await withDatabase { database in
            let guarded = try await database.query(
                """
                SELECT relname::text FROM pg_class
                WHERE relnamespace = 'app'::regnamespace AND relrowsecurity AND relforcerowsecurity
                  AND relname IN ('users', 'therapist_patients') ORDER BY relname
                """
            ).map { try $0.decode(0, as: String.self) }
            #expect(guarded == ["therapist_patients", "users"])
        }
    }

    @Test("Without an acting user, the server's role sees no account and can change none")
    func nobody() async throws {
        try await withDatabase { database in
            let people = try await People(database)
            try await database.withConnection(as: "therapybridge_server") { connection async throws in
                #expect(try await connection.query("SELECT id FROM app.users").isEmpty)
                #expect(try await connection.query("SELECT FROM app.therapist_patients").isEmpty)
                #expect(try await connection.execute("UPDATE app.users SET role = 'admin'") == 0)
                #expect(try await connection.execute("UPDATE app.therapist_patients SET is_active = true") == 0)
                #expect(try await connection.refusal(of: People.newAdministrator) == .insufficientPrivilege)
                #expect(
                    try await connection.refusal(of: people.newAssignment) == .checkViolation,
                    "the trigger cannot even see a therapist and a patient")
            }
        }
    }

    @Test(
        "An administrator sees every account, a therapist the assigned patients, a patient the assigned therapist, and every user the own account"
    )
    func seen() async throws {
        try await withDatabase { database in
            let people = try await People(database)
            try await database.withConnection(as: "therapybridge_server") { connection async throws in
                func seen(by user: UserID) async throws -> Set<UserID> {
                    let rows = try await people.act(user, connection, "SELECT id FROM app.users")
                    return Set(try rows.map { try $0.decode("id", as: UserID.self) })
                }
                func assignments(of user: UserID) async throws -> Int {
                    try await people.act(user, connection, "SELECT FROM app.therapist_patients").count
                }
                #expect(try await seen(by: people.admin) == people.all)
                #expect(try await seen(by: people.therapist) == [people.therapist, people.patient])
                #expect(try await seen(by: people.patient) == [people.patient, people.therapist])
                for alone in [people.former, people.stranger, people.pipeline] {
                    #expect(try await seen(by: alone) == [alone])
                }
                #expect(try await assignments(of: people.admin) == 2)
                #expect(try await assignments(of: people.therapist) == 2)
                #expect(try await assignments(of: people.former) == 1)
                #expect(try await assignments(of: people.stranger) == 0)
                // The acting user does not stay on the connection.
                #expect(try await connection.query("SELECT id FROM app.users").isEmpty)
            }
        }
    }

    @Test("A deactivated or signed-out user does not even see the own account")
    func ended() async throws {
        try await withDatabase { database in
            for end: PostgresQuery in [
                "UPDATE app.users SET is_active = false", "UPDATE app.auth_sessions SET revoked_at = now()",
                "UPDATE app.auth_sessions SET expires_at = now() - interval '1 second'",
            ] {
                let people = try await People(database)
                try await database.withConnection(as: "therapybridge_server") { connection async throws in
                    #expect(try await !people.act(people.admin, connection, "SELECT id FROM app.users").isEmpty)
                    try await database.query(end)
                    #expect(try await people.act(people.admin, connection, "SELECT id FROM app.users").isEmpty)
                }
            }
        }
    }

    @Test("Only administrators add and change accounts and assignments")
    func changes() async throws {
        try await withDatabase { database in
            let people = try await People(database)
            try await database.withConnection(as: "therapybridge_server") { connection async throws in
                for user in [people.therapist, people.patient, people.stranger, people.pipeline] {
                    #expect(
                        try await people.refusal(user, connection, People.newAdministrator) == .insufficientPrivilege)
                    // The trigger that checks the roles of an assignment does not see the accounts either.
                    #expect(
                        [.insufficientPrivilege, .checkViolation]
                            .contains(try await people.refusal(user, connection, people.newAssignment)))
                    for update: PostgresQuery in [
                        "UPDATE app.users SET role = 'admin' RETURNING id",
                        "UPDATE app.therapist_patients SET is_active = NOT is_active RETURNING patient_id",
                    ] {
                        #expect(try await people.act(user, connection, update).isEmpty)
                    }
                }
                #expect(try await people.refusal(people.admin, connection, People.newAdministrator) == nil)
                #expect(try await people.refusal(people.admin, connection, people.newAssignment) == nil)
                #expect(
                    try await people.act(
                        people.admin, connection,
                        "UPDATE app.users SET full_name = 'X' WHERE id = \(people.stranger) RETURNING id"
                    ).count == 1)
                // Not even an administrator sees a password hash.
                #expect(
                    try await people.refusal(people.admin, connection, "SELECT password_hash FROM app.users")
                        == .insufficientPrivilege)
            }
        }
    }

    @Test("An account is found only by its whole address, in any case, and by the index")
    func byAddress() async throws {
        try await withDatabase { database in
            _ = try await database.addUser(.patient, email: "Ada@clinic.example")
            try await database.withConnection(as: "therapybridge_server") { connection async throws in
                func count(_ address: String?) async throws -> Int {
                    try await connection.query("SELECT * FROM app.account_by_address(\(address))").count
                }
                #expect(try await count("aDA@clinic.example") == 1)
                for address in ["%", "ada%", "", "Ada@clinic.exampl", nil] { #expect(try await count(address) == 0) }
            }
            try await database.withOwner { connection in
                try await connection.executeScript("SET enable_seqscan = off")
                let plan = try await connection.query(
                    "EXPLAIN SELECT FROM app.users u WHERE lower(u.email COLLATE \"C\") = lower('ada@clinic.example' COLLATE \"C\")"
                ).map { try $0.decode(0, as: String.self) }
                #expect(plan.contains { $0.contains("users_email_key") }, "\(plan)")
            }
        }
    }
}

/// Signed-in users of every role.
private struct People {
    let admin, therapist, patient, former, stranger, pipeline: UserID
    private let signIns: [UserID: SignInID]

    var all: Set<UserID> { [admin, therapist, patient, former, stranger, pipeline] }

    static let newAdministrator: PostgresQuery =
        "INSERT INTO app.users (email, full_name, role) VALUES ('new@test.example', 'New', 'admin')"
    var newAssignment: PostgresQuery {
        "INSERT INTO app.therapist_patients (therapist_id, patient_id) VALUES (\(therapist), \(stranger))"
    }

    /// Adds the users: one assigned patient, one whose assignment has ended, and one without an assignment.
    init(_ database: TestDatabase) async throws {
        try await database.query("DELETE FROM app.users")
        admin = try await database.addUser(.admin)
        therapist = try await database.addUser(.therapist)
        patient = try await database.addUser(.patient)
        former = try await database.addUser(.patient)
        stranger = try await database.addUser(.patient)
        pipeline = try await database.addUser(.pipeline)
        try await database.assign(therapist, to: patient)
        try await database.assign(therapist, to: former)
        try await database.endAssignment(of: therapist, to: former)
        var signIns: [UserID: SignInID] = [:]
        for user in [admin, therapist, patient, former, stranger, pipeline] {
            signIns[user] = try await database.addSignIn(of: user)
        }
        self.signIns = signIns
    }

    /// Runs a statement as a user, in its own transaction.
    func act(_ user: UserID, _ connection: PostgresConnection, _ query: PostgresQuery) async throws -> PostgresRows {
        try await connection.query(query, as: Principal(user: user, signIn: try #require(signIns[user])))
    }

    func refusal(_ user: UserID, _ connection: PostgresConnection, _ query: PostgresQuery) async throws -> SQLState? {
        do {
            _ = try await act(user, connection, query)
            return nil
        } catch let error as PostgresError {
            return error.sqlState
        }
    }
}
