import Domain
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import Testing

/// A therapist who follows a session, and a colleague with the same right.
struct RightsScene: Sendable {
    let server: TestServer
    let patient: UserID
    let therapist: UserID
    let session: SessionID
    let token: String
    let signIn: SignInID
    let colleague: UserID
    let colleagueToken: String

    var database: TestDatabase { server.database }
    var webSocketPath: String { "/api/sessions/\(session)/status/ws" }
    var path: String { "/api/sessions/\(session)/status/stream" }

    init(_ server: TestServer) async throws {
        self.server = server
        let database = server.database
        patient = try await database.addUser(.patient)
        therapist = try await database.addUser(.therapist)
        colleague = try await database.addUser(.therapist)
        try await database.assign(therapist, to: patient)
        try await database.assign(colleague, to: patient)
        session = try await database.addSession(of: patient, therapist: therapist)
        (token, signIn) = try await server.signIn(therapist)
        colleagueToken = try await server.token(colleague)
    }
}

/// The ways in which a right ends.
///
/// Those of the first line do not end the colleague's right.
enum EndOfRight: CaseIterable, Sendable {
    case assignmentEnded, assignmentDeleted, accountDeactivated, signedOut, signInRevoked, signInCutShort,
        signInDeleted, roleChanged
    case sessionDeleted, sessionDeletedBySQL, sessionMoved

    var isOfOneUser: Bool { ![.sessionDeleted, .sessionDeletedBySQL, .sessionMoved].contains(self) }
}

extension RightsScene {
    /// Ends the therapist's right.
    func end(by end: EndOfRight) async throws {
        switch end {
        case .assignmentEnded: try await database.endAssignment(of: therapist, to: patient)
        case .assignmentDeleted:
            try await database.query(
                "DELETE FROM app.therapist_patients WHERE therapist_id = \(therapist.rawValue)")
        case .accountDeactivated:
            try await database.query("UPDATE app.users SET is_active = false WHERE id = \(therapist.rawValue)")
        case .signedOut:
            let response = try await server.request(.POST, "/api/auth/logout", token: token)
            #expect(response.status == 204)
        case .signInRevoked:
            try await database.query(
                "UPDATE app.auth_sessions SET revoked_at = now() WHERE id = \(signIn.rawValue)")
        case .signInCutShort:
            try await database.query("UPDATE app.auth_sessions SET expires_at = now() WHERE id = \(signIn.rawValue)")
        case .signInDeleted:
            try await database.query("DELETE FROM app.auth_sessions WHERE id = \(signIn.rawValue)")
        case .roleChanged:
            // A patient sees no other patient's session.
            try await database.query("UPDATE app.users SET role = 'patient' WHERE id = \(therapist.rawValue)")
        case .sessionDeleted:
            let response = try await server.request(
                .DELETE, "/api/sessions/\(session)", token: colleagueToken)
            #expect(response.status == 204)
        case .sessionDeletedBySQL:
            try await database.query("DELETE FROM app.therapy_sessions WHERE id = \(session.rawValue)")
        case .sessionMoved:
            let other = try await database.addUser(.patient)
            try await database.query(
                "UPDATE app.therapy_sessions SET patient_id = \(other.rawValue) WHERE id = \(session.rawValue)")
        }
    }

    /// Reports progress, and ends the right in the same commit or in one before it.
    func reportAndEnd(isOneCommit: Bool) async throws {
        let change = "SELECT app.report_progress('\(session)', 'transcribing', 20);"
        try await database.withConnection { connection in
            if isOneCommit {
                try await connection.executeScript("BEGIN; \(change) \(endStatement) COMMIT")
            } else {
                try await connection.executeScript("BEGIN; \(endStatement) COMMIT")
                try await connection.executeScript(change)
            }
        }
    }

    /// Ends the right with triggers off, which sends no notification and writes nothing into the log by itself.
    func endSilently(isLogged: Bool) async throws {
        try await database.withConnection { connection in
            try await connection.executeScript(
                """
                BEGIN;
                SET LOCAL session_replication_role = replica;
                \(endStatement)
                \(isLogged ? logStatement : "")
                COMMIT;
                """)
        }
    }

    /// The statement with which the triggers write the end of the assignment into the log.
    var logStatement: String {
        "INSERT INTO app.rights_log (user_id, patient_id) VALUES ('\(therapist)', '\(patient)');"
    }

    /// The statement that ends the therapist's assignment.
    var endStatement: String {
        "UPDATE app.therapist_patients SET is_active = false, ended_at = now() WHERE therapist_id = '\(therapist)';"
    }
}
