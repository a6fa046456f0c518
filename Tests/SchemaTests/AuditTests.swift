import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// `app.audit_log`: what it records, and its protection against changes.
@Suite(.deadline) struct AuditTests {
    // MARK: - Accesses

    @Test("The database admits the users whom Access permits, and records that", arguments: AuthorizeSessionTests.cases)
    func sameRule(cell: AuthorizeSessionTests.Case) async throws {
        try await withDatabase { database in
            let stage = try await database.withConnection { try await AuthorizeSessionTests.Stage(cell, on: $0) }
            let actions = AuditAction.allCases.filter { $0.need != nil }
            let requests = actions.map { stage.request($0) }
            try await withStore(database) { store in
                let answers = try await store.admit(requests)
                for (action, answer) in zip(actions, answers) {
                    let need = try #require(action.need)
                    let permitted = Access.permits(need, to: cell.role, as: cell.relation)
                    #expect(answer.isAllowed == permitted, "\(action)")
                    #expect(answer.permits(need) == permitted, "\(action)")
                    // A refused user gets no progress.
                    #expect((answer.progress != nil) == permitted, "\(action)")
                    let records = try await database.audit("action = '\(action.rawValue)'")
                    #expect(records.map(\.isAllowed) == [permitted], "\(action)")
                }
            }
            let records = try await database.audit("request_id IS NOT NULL")
            #expect(records.count == actions.count)
            #expect(Set(records.map(\.requestID)) == Set(requests.map(\.requestID?.description)))
            let patient = try await database.query("SELECT patient_id AS id FROM app.therapy_sessions")[0]
                .decode("id", as: UserID.self)
            #expect(Set(records.map(\.user)) == [stage.user])
            #expect(Set(records.map(\.signIn)) == [stage.signIn])
            #expect(Set(records.map(\.session)) == [stage.session])
            #expect(Set(records.map(\.patient)) == [patient])
            #expect(Set(records.map(\.databaseRole)) == ["therapybridge_server"])
        }
    }

    @Test("The database admits nobody to an action that needs no right to a session")
    func noNeed() async throws {
        try await withDatabase { database in
            let stage = try await database.adminStage()
            try await withStore(database) { store in
                for action in AuditAction.allCases where action.need == nil {
                    let answer = try await store.admit(stage.request(action))
                    #expect(!answer.isAllowed, "\(action)")
                    #expect(!answer.permits(.see), "\(action)")
                }
            }
        }
    }

    @Test(
        "The log records inactive accounts, but no unknown user, ended sign-in or unknown session")
    func strangers() async throws {
        try await withDatabase { database in
            let stage = try await database.adminStage()
            let before = try await database.audit().count
            try await withStore(database) { store in
                for principal in [
                    Principal(user: .random(), signIn: .random()), Principal(user: stage.user, signIn: .random()),
                ] {
                    _ = try await store.admit(AuthorizationRequest(stage.session, for: principal))
                    _ = try await store.admitCaseload(of: principal, resumes: false, requestID: nil, network: nil)
                }
                _ = try await store.admit(AuthorizationRequest(.random(), for: stage.principal))
                #expect(try await database.audit().count == before)
                try await database.query("UPDATE app.users SET is_active = false")
                _ = try await store.admit(stage.request(.openStream))
                _ = try await store.admitCaseload(of: stage.principal, resumes: false, requestID: nil, network: nil)
                let records = try await database.audit("action IN ('stream.open', 'caseload.open')")
                #expect(records.map(\.isAllowed) == [false, false])
            }
        }
    }

    @Test("Each of many requests in one statement gets its own answer and record")
    func many() async throws {
        try await withDatabase { database in
            let stage = try await database.adminStage()
            let stranger = try await database.withConnection {
                try await AuthorizeSessionTests.Stage(
                    .init(role: .patient, relation: Relation(isPatient: false, isAssigned: false)), on: $0)
            }
            // The state is the transition of its own version. Only the earlier ones follow as transitions.
            try await database.report(stage.session, .transcribing, 20)
            let requests = (0..<300).map { number in
                AuthorizationRequest(
                    stage.session, for: number.isMultiple(of: 3) ? stranger.principal : stage.principal,
                    after: number.isMultiple(of: 2) ? 0 : nil,
                    action: number.isMultiple(of: 2) ? .resumeStream : .openStream, requestID: .random())
            }
            try await withStore(database) { store in
                let answers = try await store.admit(requests)
                for (number, answer) in answers.enumerated() {
                    let isRefused = number.isMultiple(of: 3)
                    #expect(answer.permits(.see) == !isRefused, "\(number)")
                    #expect(answer.transitions.isEmpty == (isRefused || !number.isMultiple(of: 2)), "\(number)")
                }
            }
            let records = try await database.audit("action LIKE 'stream.%'")
            #expect(Set(records.map(\.requestID)).count == 300)
            #expect(records.filter(\.isAllowed).allSatisfy { $0.user == stage.user })
            #expect(records.filter { !$0.isAllowed }.allSatisfy { $0.user == stranger.user })
        }
    }

    // MARK: - Protection

    @Test(
        "No role can change a record, not even the owner or a superuser",
        arguments: ["therapybridge_server", "owner", "postgres"],
        ["UPDATE app.audit_log SET is_allowed = true", "TRUNCATE app.audit_log"])
    func append(role: String, statement: String) async throws {
        try await withDatabase { database in
            try await database.withConnection(as: role == "owner" ? "postgres" : role) { connection async throws in
                if role == "owner" { try await connection.executeScript("SET ROLE therapybridge_owner") }
                let error = await #expect(throws: PostgresError.self) {
                    try await connection.executeScript(statement)
                }
                #expect(error?.sqlState == .insufficientPrivilege)
            }
        }
    }

    @Test("The removal of old records leaves a record")
    func removal() async throws {
        try await withDatabase { database in
            for _ in 1...3 { _ = try await database.addUser(.patient) }
            try await database.withConnection { connection in
                try await connection.executeScript(
                    "SET ROLE therapybridge_owner; DELETE FROM app.audit_log WHERE at < now() + interval '1 minute'")
            }
            let left = try await database.audit()
            #expect(left.map(\.action) == ["audit.remove"])
            #expect(left.first?.detail?.hasPrefix("3 records, until 20") == true)
            #expect(left.first?.databaseRole == "postgres")
        }
    }

    @Test("Only an acting user with the right to read the audit log sees it", arguments: Role.allCases)
    func readers(role: Role) async throws {
        try await withDatabase { database in
            let stage = try await database.withConnection {
                try await AuthorizeSessionTests.Stage(
                    .init(role: role, relation: Relation(isPatient: true, isAssigned: true)), on: $0)
            }
            let seen = try await database.withServerPool(size: 1) { pool in
                let store = AuditStore(pool: pool)
                let unsigned = Principal(user: stage.user, signIn: .random())
                #expect(try await store.list(.init(limit: 10), as: unsigned).isEmpty)
                #expect(try await store.list(.init(limit: 10)).isEmpty, "without an acting user")
                return try await store.list(.init(limit: 10), as: stage.principal)
            }
            #expect(seen.isEmpty == !Access.permits(.readAuditLog, to: role))
        }
    }

    // MARK: - Changes

    @Test("The log records every change of rights, also one in psql")
    func changes() async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            let therapist = try await database.addUser(.therapist)
            let session = try await database.addSession(of: patient)
            try await database.query(
                """
                INSERT INTO app.auth_sessions (user_id, expires_at)
                VALUES (\(patient), now() + interval '1 h'), (\(therapist), now() + interval '1 h')
                """)
            let script = """
                UPDATE app.users SET full_name = 'Another Name', email = 'another@test.example' WHERE id = '\(patient)';
                UPDATE app.users SET updated_at = now() WHERE id = '\(patient)';
                UPDATE app.users SET password_hash = '$scrypt$secret', is_active = false WHERE id = '\(patient)';
                UPDATE app.users SET role = 'admin', is_active = true WHERE id = '\(patient)';
                UPDATE app.users SET role = 'patient' WHERE id = '\(patient)';
                INSERT INTO app.therapist_patients (therapist_id, patient_id) VALUES ('\(therapist)', '\(patient)');
                UPDATE app.therapist_patients SET started_at = now();
                UPDATE app.therapist_patients SET is_active = false;
                UPDATE app.therapist_patients SET is_active = true;
                DELETE FROM app.therapist_patients;
                UPDATE app.auth_sessions SET revoked_at = now(), revoked_reason = 'by hand';
                UPDATE app.auth_sessions SET revoked_reason = 'again';
                """
            try await database.withConnection { try await $0.executeScript(script) }
            let other = try await database.addUser(.patient)
            try await database.query("UPDATE app.therapy_sessions SET patient_id = \(other) WHERE id = \(session)")
            try await database.query("DELETE FROM app.therapy_sessions WHERE id = \(session)")
            try await database.query("DELETE FROM app.users WHERE id = \(therapist)")

            let records = try await database.audit()
            #expect(
                records.map { "\($0.action) \($0.detail ?? "-")" } == [
                    "user.add role: patient", "user.add role: therapist", "session.add -", "sign_in.begin -",
                    "sign_in.begin -", "user.change name, address", "user.change inactive, password",
                    "sign_in.end account_deactivated", "user.change role: admin, active",
                    "user.change role: patient", "assignment.begin -", "assignment.end -", "assignment.begin -",
                    "assignment.end -", "sign_in.end by hand", "user.add role: patient",
                    "session.correct was of \(patient)", "session.delete -", "user.remove role: therapist",
                ])
            #expect(records.allSatisfy { $0.isAllowed })
            #expect(Set(records.map(\.databaseRole)) == ["postgres"])
            #expect(records.allSatisfy { AuditAction(rawValue: $0.action) != nil })
            let assignment = try #require(records.first { $0.action == "assignment.begin" })
            #expect(assignment.subject == therapist)
            #expect(assignment.patient == patient)
            #expect(assignment.user == nil)
            let begin = try #require(records.first { $0.action == "sign_in.begin" })
            #expect(begin.user == patient)
            #expect(begin.signIn != nil)
            // No name, no address, no password hash.
            let text = records.map { String(reflecting: $0) }.joined()
            for secret in ["Another", "test.example", "scrypt"] { #expect(!text.contains(secret)) }
        }
    }

    @Test("The log records a sign-in that ends or begins again in psql, and not the deletion of an expired one")
    func signIns() async throws {
        try await withDatabase { database in
            let user = try await database.addUser(.patient)
            try await database.query(
                """
                INSERT INTO app.auth_sessions (user_id, expires_at)
                VALUES (\(user), now() + interval '1 h'), (\(user), now() - interval '1 h')
                """)
            let before = try await database.audit().count
            let script = """
                UPDATE app.auth_sessions SET revoked_at = now(), revoked_reason = 'one' WHERE expires_at > now();
                UPDATE app.auth_sessions SET revoked_at = NULL, revoked_reason = NULL WHERE expires_at > now();
                DELETE FROM app.auth_sessions;
                """
            try await database.withConnection { try await $0.executeScript(script) }
            let records = try await database.audit().dropFirst(before)
            #expect(
                records.map { "\($0.action) \($0.detail ?? "-")" }
                    == ["sign_in.end one", "sign_in.begin -", "sign_in.end removed"])
            #expect(records.allSatisfy { $0.user == user })
            #expect(records.allSatisfy { $0.signIn != nil })
        }
    }

    @Test("The database refuses a record with the sign-in of another user")
    func foreignSignIn() async throws {
        try await withDatabase { database in
            let stage = try await database.adminStage()
            let victim = try await database.addUser(.therapist)
            let audit = { (user: UserID, signIn: SignInID) in
                try await database.query(
                    "SELECT app.record_access(\(user), \(signIn), 'notes.read', true, \(stage.session), NULL, 'r')",
                    as: "therapybridge_server")
            }
            for (user, signIn) in [(victim, stage.signIn), (stage.user, SignInID.random())] {
                let error = await #expect(throws: PostgresError.self) { try await audit(user, signIn) }
                #expect(error?.sqlState == .invalidAuthorization)
            }
            _ = try await audit(stage.user, stage.signIn)
            #expect(try await database.audit("action = 'notes.read'").map(\.user) == [stage.user])
        }
    }

    @Test("A user id that is set in psql without a sign-in does not get into the log")
    func forgedName() async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            try await database.query("INSERT INTO app.therapy_sessions (patient_id) VALUES (\(patient))")
            try await database.withConnection { connection in
                try await connection.withTransaction { connection in
                    _ = try await connection.query("SELECT set_config('app.user_id', \(patient.description), true)")
                    _ = try await connection.query("DELETE FROM app.therapy_sessions")
                    _ = try await connection.query("UPDATE app.users SET role = 'admin'")
                }
            }
            let records = try await database.audit("action IN ('session.delete', 'user.change')")
            #expect(records.map(\.action) == ["session.delete", "user.change"])
            #expect(records.allSatisfy { $0.user == nil })
            #expect(Set(records.map(\.databaseRole)) == ["postgres"])
        }
    }

    @Test("A change that cannot be recorded does not happen")
    func unrecorded() async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            let therapist = try await database.addUser(.therapist)
            try await database.breakAudit()
            for statement: PostgresQuery in [
                "INSERT INTO app.therapist_patients (therapist_id, patient_id) VALUES (\(therapist), \(patient))",
                "UPDATE app.users SET is_active = false WHERE id = \(patient)",
                "INSERT INTO app.auth_sessions (user_id, expires_at) VALUES (\(patient), now() + interval '1 h')",
            ] {
                await #expect(throws: PostgresError.self) { try await database.query(statement) }
            }
            #expect(try await database.query("SELECT FROM app.therapist_patients").isEmpty)
            #expect(try await database.query("SELECT FROM app.users WHERE NOT is_active").isEmpty)
            #expect(try await database.query("SELECT FROM app.auth_sessions").isEmpty)
        }
    }

    private func withStore<Result: Sendable>(
        _ database: TestDatabase, _ body: @escaping @Sendable (ProgressStore) async throws -> Result
    ) async throws -> Result {
        try await database.withServerPool(size: 1) { try await body(ProgressStore(pool: $0)) }
    }
}

extension AuthorizeSessionTests.Stage {
    var principal: Principal { Principal(user: user, signIn: signIn) }

    func request(_ action: AuditAction) -> AuthorizationRequest {
        AuthorizationRequest(session, for: principal, action: action, requestID: .random())
    }
}

extension TestDatabase {
    func adminStage() async throws -> AuthorizeSessionTests.Stage {
        try await withConnection {
            try await AuthorizeSessionTests.Stage(
                .init(role: .admin, relation: Relation(isPatient: false, isAssigned: false)), on: $0)
        }
    }
}
