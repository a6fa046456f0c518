import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The rows that the server's role sees: those of the acting user, and no others.
@Suite(.deadline) struct RowSecurityTests {
    /// The tables with data of patients.
    private static let tables = [
        "therapy_sessions", "session_list", "session_progress", "session_events", "transcripts", "notes",
        "deleted_sessions",
    ]

    @Test("Every table with the id of a session or a patient has row-level security, forced for the owner")
    func forced() async throws {
        try await withDatabase { database in
            let unguarded = try await database.query(
                """
                SELECT DISTINCT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
                WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'p')
                  AND a.attname IN ('session_id', 'patient_id')
                  AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
                """
            ).map { try $0.decode(0, as: String.self) }
            // The server's role can read none of these tables.
            #expect(
                Set(unguarded) == [
                    "hint_log", "patient_queue", "patient_turns", "rights_log", "session_leases", "stream_tickets",
                ])
        }
    }

    @Test("Without an acting user, the server's role sees no row and can add none")
    func nobody() async throws {
        try await withDatabase { database in
            let stage = try await RowStage(database)
            try await database.withConnection(as: "therapybridge_server") { connection async throws in
                for table in Self.tables where table != "deleted_sessions" {
                    #expect(try await connection.query("SELECT FROM \(unescaped: "app." + table)").isEmpty, "\(table)")
                }
                let partial = try await connection.query(stage.partialTranscript)[0]
                #expect(try partial.decode("attempt", as: Int32?.self) == nil)
                #expect(try partial.decode("has_segments", as: Bool.self) == false)
                #expect(try await connection.execute("DELETE FROM app.therapy_sessions") == 0)
                #expect(try await connection.execute("UPDATE app.therapy_sessions SET filename = 'x'") == 0)
                #expect(
                    try await connection.refusal(
                        of: "INSERT INTO app.therapy_sessions (patient_id) VALUES (\(stage.user))")
                        == .insufficientPrivilege)
                #expect(
                    try await connection.query("SELECT * FROM app.acting_recording(\(stage.session))").isEmpty)
            }
        }
    }

    @Test("A user sees and changes the rows that Access permits", arguments: AuthorizeSessionTests.cases)
    func sameRule(cell: AuthorizeSessionTests.Case) async throws {
        try await withDatabase { database in
            let stage = try await RowStage(database, cell)
            func permits(_ action: SessionAction) -> Bool {
                Access.permits(action, to: cell.role, as: cell.relation)
            }
            try await database.withConnection(as: "therapybridge_server") { connection async throws in
                for table in ["therapy_sessions", "session_list", "session_progress", "session_events", "transcripts"] {
                    #expect((try await stage.count(table, connection) > 0) == permits(.see), "\(table)")
                }
                let partial = try await stage.act(connection, stage.partialTranscript)[0]
                #expect(try partial.decode("attempt", as: Int32?.self) == (permits(.see) ? 1 : nil))
                #expect(try partial.decode("has_segments", as: Bool.self) == permits(.see))
                #expect((try await stage.count("notes", connection) > 0) == permits(.readNotes))
                #expect(
                    try await !stage.act(connection, "SELECT * FROM app.acting_recording(\(stage.session))").isEmpty
                        == permits(.hear))
                for action in SessionAction.allCases {
                    let may = try await stage.act(
                        connection, "SELECT app.acting_may(\(action.rawValue), \(stage.patient))"
                    )[0].decode(0, as: Bool.self)
                    #expect(may == permits(action), "\(action)")
                }
                func changed() async throws -> Int {
                    try await stage.act(
                        connection,
                        "UPDATE app.therapy_sessions SET filename = 'x' WHERE id = \(stage.session) RETURNING id"
                    ).count
                }
                #expect(try await changed() == 0, "the session has its recording")
                try await database.query("UPDATE app.therapy_sessions SET recording = NULL")
                #expect(try await changed() == (permits(.upload) ? 1 : 0))
                #expect(
                    try await stage.act(
                        connection, "DELETE FROM app.therapy_sessions WHERE id = \(stage.session) RETURNING id"
                    ).count == (permits(.manage) ? 1 : 0))
                // The acting user does not stay on the connection.
                #expect(try await connection.query("SELECT FROM app.therapy_sessions").isEmpty)
            }
        }
    }

    @Test("A user cannot create a session of another patient", arguments: [Role.patient, .therapist])
    func foreign(role: Role) async throws {
        try await withDatabase { database in
            let stage = try await RowStage(
                database, .init(role: role, relation: Relation(isPatient: true, isAssigned: true)))
            let stranger = try await database.addUser(.patient)
            try await database.withConnection(as: "therapybridge_server") { connection async throws in
                let refusal = try await stage.refusal(
                    connection, "INSERT INTO app.therapy_sessions (patient_id) VALUES (\(stranger))")
                #expect(refusal == .insufficientPrivilege)
            }
        }
    }

    @Test("An acting user who is inactive or not signed in sees no row")
    func ended() async throws {
        try await withDatabase { database in
            let cell = AuthorizeSessionTests.Case(
                role: .admin, relation: Relation(isPatient: false, isAssigned: false))
            for end in [
                "UPDATE app.users SET is_active = false WHERE role = 'admin'",
                "UPDATE app.auth_sessions SET revoked_at = now()",
                "UPDATE app.auth_sessions SET expires_at = now() - interval '1 second'",
                "DELETE FROM app.auth_sessions",
            ] {
                let stage = try await RowStage(database, cell)
                try await database.withConnection(as: "therapybridge_server") { connection async throws in
                    #expect(try await stage.count("therapy_sessions", connection) > 0)
                    try await database.withConnection { try await $0.executeScript(end) }
                    #expect(try await stage.count("therapy_sessions", connection) == 0, "\(end)")
                }
            }
        }
    }
}

/// A session with all its rows, and a user with a role and a relation.
private struct RowStage {
    let session: SessionID
    let user: UserID
    let patient: UserID
    let signIn: SignInID

    init(
        _ database: TestDatabase,
        _ cell: AuthorizeSessionTests.Case = .init(
            role: .therapist, relation: Relation(isPatient: false, isAssigned: false))
    ) async throws {
        (session, user, patient, signIn) = try await database.withConnection { connection in
            let stage = try await AuthorizeSessionTests.Stage(cell, on: connection)
            _ = try await connection.query(
                "UPDATE app.therapy_sessions SET recording = \(stage.session.description) WHERE id = \(stage.session)")
            _ = try await connection.query("INSERT INTO app.transcripts VALUES (\(stage.session), 1, '{}')")
            _ = try await connection.query("INSERT INTO app.transcript_segments VALUES (\(stage.session), 0, 1, '{}')")
            _ = try await connection.query("INSERT INTO app.notes VALUES (\(stage.session), 1, '{}')")
            return (stage.session, stage.user, stage.patient, stage.signIn)
        }
    }

    /// The attempt of the session's partial transcript, and whether the caller sees its segments.
    var partialTranscript: PostgresQuery {
        "SELECT attempt, segments IS NOT NULL AS has_segments FROM app.partial_transcript(\(session))"
    }

    /// Runs a statement as the user, in its own transaction.
    func act(_ connection: PostgresConnection, _ query: PostgresQuery) async throws -> PostgresRows {
        try await connection.query(query, as: Principal(user: user, signIn: signIn))
    }

    func refusal(_ connection: PostgresConnection, _ query: PostgresQuery) async throws -> SQLState? {
        do {
            _ = try await act(connection, query)
            return nil
        } catch let error as PostgresError {
            return error.sqlState
        }
    }

    /// The number of rows of the session that the user sees in a table.
    func count(_ table: String, _ connection: PostgresConnection) async throws -> Int {
        let column = table == "therapy_sessions" ? "id" : "session_id"
        return try await act(
            connection, "SELECT FROM \(unescaped: "app.\(table)") WHERE \(unescaped: column) = \(session)"
        ).count
    }
}
