import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The access rule in SQL against the rule in Swift: `app.permits`, and the functions that authorize by it.
@Suite(.deadline) struct AuthorizeSessionTests {
    /// A role and a relation.
    struct Case: Sendable, CustomTestStringConvertible {
        var role: Role
        var relation: Relation
        var testDescription: String {
            "\(role)\(relation.isPatient ? ", the patient" : "")\(relation.isAssigned ? ", assigned" : "")"
        }
    }

    static let cases = Role.allCases.flatMap { role in
        [(false, false), (true, false), (false, true), (true, true)].map {
            Case(role: role, relation: Relation(isPatient: $0.0, isAssigned: $0.1))
        }
    }

    @Test("The database and Access agree for every role, relation and action", arguments: cases)
    func sameRule(cell: Case) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let stage = try await Stage(cell, on: connection)
                let answer = try await stage.authorize(connection)
                try #require(answer.role == cell.role)
                try #require(answer.relation == cell.relation)
                for action in SessionAction.allCases {
                    let permitted = Access.permits(action, to: cell.role, as: cell.relation)
                    let rule = try await connection.query(
                        """
                        SELECT app.permits(\(cell.role), \(action.rawValue), is_patient => \(cell.relation.isPatient),
                                           is_assigned => \(cell.relation.isAssigned))
                        """)[0].decode(0, as: Bool.self)
                    #expect(rule == permitted, "\(action)")
                    #expect(try await stage.admits(action, connection) == permitted, "\(action)")
                }
                for action in AdministrativeAction.allCases {
                    let rule = try await connection.query(
                        """
                        SELECT app.permits(\(cell.role), \(action.rawValue), is_patient => \(cell.relation.isPatient),
                                           is_assigned => \(cell.relation.isAssigned))
                        """)[0].decode(0, as: Bool.self)
                    #expect(rule == Access.permits(action, to: cell.role), "\(action)")
                }
                #expect(answer.maySee == Access.permits(.see, to: cell.role, as: cell.relation))
                #expect(answer.mayManage == Access.permits(.manage, to: cell.role, as: cell.relation))
            }
        }
    }

    @Test("The database permits no action to an unknown role, and no unknown action to any role")
    func unknown() async throws {
        try await withDatabase { database in
            for (role, action): (String?, String?) in [
                ("owner", "see"), (nil, "see"), ("admin", "own"), ("admin", nil), (nil, nil),
            ] {
                let permitted = try await database.query(
                    "SELECT app.permits(\(role), \(action), is_patient => true, is_assigned => true)"
                )[0].decode(0, as: Bool.self)
                #expect(!permitted, "\(role ?? "no role") \(action ?? "no action")")
            }
        }
    }

    @Test("The database has the same roles as Swift, and no user can have another role")
    func roles() async throws {
        try await withDatabase { database in
            let roles = try await database.query("SELECT role FROM app.roles").map { try $0.decode(0, as: String.self) }
            #expect(Set(roles) == Set(Role.allCases.map(\.rawValue)))
            try await database.withConnection { connection in
                let refusal = try await connection.refusal(
                    of:
                        "INSERT INTO app.users (email, full_name, role) VALUES ('a@test.example', 'Test Person', 'owner')"
                )
                #expect(refusal == .foreignKeyViolation)
            }
        }
    }

    @Test("Neither an ended assignment nor the column therapist_id gives a right")
    func endedAssignment() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let stage = try await Stage(
                    Case(role: .therapist, relation: Relation(isPatient: false, isAssigned: true)), on: connection)
                _ = try await connection.query(
                    "UPDATE app.therapy_sessions SET therapist_id = \(stage.user) WHERE id = \(stage.session)")
                #expect(try await stage.authorize(connection).maySee)
                _ = try await connection.query("UPDATE app.therapist_patients SET is_active = false")
                let answer = try await stage.authorize(connection)
                #expect(!answer.maySee)
                #expect(!answer.mayManage)
                #expect(!answer.relation.isAssigned)
            }
        }
    }

    @Test(
        "A user who is inactive or not signed in has no right, and nobody has a right to an unknown session",
        arguments: Role.allCases)
    func nobody(role: Role) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let stage = try await Stage(
                    Case(role: role, relation: Relation(isPatient: true, isAssigned: true)), on: connection)
                let other = try await Stage(
                    Case(role: .admin, relation: Relation(isPatient: false, isAssigned: false)), on: connection)
                func expectNothing(_ comment: Comment, _ answer: Answer) {
                    #expect(!answer.maySee, comment)
                    #expect(!answer.mayManage, comment)
                }
                expectNothing("another's sign-in", try await stage.authorize(connection, signIn: other.signIn))
                expectNothing("no such sign-in", try await stage.authorize(connection, signIn: .random()))
                expectNothing("no such user", try await stage.authorize(connection, user: .random()))
                expectNothing("no such session", try await stage.authorize(connection, session: .random()))
                for (comment, change, back): (Comment, String, String) in [
                    ("inactive", "UPDATE app.users SET is_active = false", "UPDATE app.users SET is_active = true"),
                    (
                        "revoked", "UPDATE app.auth_sessions SET revoked_at = now()",
                        "UPDATE app.auth_sessions SET revoked_at = NULL"
                    ),
                    ("expired", "UPDATE app.auth_sessions SET expires_at = clock_timestamp()", ""),
                ] {
                    try await connection.executeScript(change)
                    expectNothing(comment, try await stage.authorize(connection))
                    try await connection.executeScript(back)
                }
            }
        }
    }

    /// The rights in an answer of `app.authorize_sessions`.
    struct Answer {
        var role: Role?
        var relation: Relation
        var maySee: Bool
        var mayManage: Bool
    }

    /// A signed-in user with the role of a case, and a session to which the user has its relation.
    struct Stage {
        let user = UserID.random()
        let patient: UserID
        let session = SessionID.random()
        let signIn = SignInID.random()

        init(_ cell: Case, on connection: PostgresConnection) async throws {
            let stranger = UserID.random()
            patient = cell.relation.isPatient ? user : stranger
            for (id, role) in [(user, cell.role), (stranger, .patient)] {
                _ = try await connection.query(
                    """
                    INSERT INTO app.users (id, email, full_name, role)
                    VALUES (\(id), \("\(id)@test.example"), 'Test Person', \(role))
                    """)
            }
            _ = try await connection.query(
                "INSERT INTO app.therapy_sessions (id, patient_id) VALUES (\(session), \(patient))")
            if cell.relation.isAssigned {
                // A role may change after the assignment. The rule therefore has to hold for assignments that are
                // refused now.
                try await connection.stage(
                    "INSERT INTO app.therapist_patients (therapist_id, patient_id) VALUES (\(user), \(patient))")
            }
            _ = try await connection.query(
                """
                INSERT INTO app.auth_sessions (id, user_id, expires_at)
                VALUES (\(signIn), \(user), clock_timestamp() + interval '1 h')
                """)
        }

        /// Whether `app.admit` admits the user to an action.
        func admits(_ action: SessionAction, _ connection: PostgresConnection) async throws -> Bool {
            try await connection.query(
                """
                SELECT is_allowed FROM app.admit(
                    \([user]), \([signIn]), \([session]), ARRAY['session.read'], \([action.rawValue]), ARRAY['request'])
                """)[0].decode(0, as: Bool.self)
        }

        func authorize(
            _ connection: PostgresConnection, user: UserID? = nil, session: SessionID? = nil, signIn: SignInID? = nil
        ) async throws -> Answer {
            let rows = try await connection.query(
                """
                SELECT * FROM app.authorize_sessions(
                    \([user ?? self.user]), \([signIn ?? self.signIn]), \([session ?? self.session]))
                """)
            try #require(rows.count == 1, "always one row")
            return Answer(
                role: try rows[0].decode("user_role", as: Role?.self),
                relation: Relation(
                    isPatient: try rows[0].decode("is_patient", as: Bool.self),
                    isAssigned: try rows[0].decode("is_assigned", as: Bool.self)),
                maySee: try rows[0].decode("may_see", as: Bool?.self) ?? false,
                mayManage: try rows[0].decode("may_manage", as: Bool?.self) ?? false)
        }
    }
}
