public import Domain
public import Postgres

/// An account as sign-in sees it.
public struct Account: Sendable {
    /// The user.
    public var user: User
    /// False for an account that may not sign in.
    public var isActive: Bool
    /// The scrypt hash; nil when nobody can sign in with a password.
    public var passwordHash: String?
}

/// The users and their assignments: `app.users`, `app.therapist_patients`.
///
/// What signing in asks is asked for nobody. Everything else sees what the acting user may see, and that is nothing without
/// one; on a connection of the schema's owner it is everything.
public struct UserStore: Sendable {
    private let pool: PostgresPool
    private var actor: Principal?

    /// Asks the database through a pool of connections.
    public init(pool: PostgresPool) { self.pool = pool }

    /// The same store, on behalf of a user.
    public func acting(as principal: Principal) -> UserStore {
        var store = self
        store.actor = principal
        return store
    }

    /// Runs statements as the acting user, if there is one, in one transaction.
    func perform<Value>(
        isolation: isolated (any Actor)? = #isolation, _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        if let actor { return try await pool.acting(as: actor, body) }
        return try await pool.withTransaction(body)
    }

    /// The account that goes by an address, with what its password is held against; nil when there is none.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func account(email: EmailAddress) async throws -> Account? {
        try await pool.query("SELECT * FROM app.account_by_address(\(email.description))").first.map {
            Account(
                user: try User($0), isActive: try $0.decode("is_active", as: Bool.self),
                passwordHash: try $0.decode("password_hash", as: String?.self))
        }
    }

    /// The user who comes with a token, active or not; nil when the sign-in behind the token does not stand.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func account(of user: UserID, signIn: SignInID) async throws -> (user: User, isActive: Bool)? {
        try await pool.query("SELECT * FROM app.account_signed_in(\(user), \(signIn))").first.map {
            (try User($0), try $0.decode("is_active", as: Bool.self))
        }
    }

    /// Adds an account.
    ///
    /// - Returns: Its id; nil when the address is taken.
    /// - Throws: ``PostgresError`` when the database cannot answer; with SQLSTATE 42501 when the acting user may not.
    public func add(
        email: EmailAddress, fullName: String, role: Role, passwordHash: String?
    ) async throws -> UserID? {
        do {
            return try await perform { connection in
                try await connection.query(
                    """
                    INSERT INTO app.users (email, full_name, role, password_hash)
                    VALUES (\(email.description), \(fullName), \(role.rawValue), \(passwordHash))
                    RETURNING id
                    """
                ).first?.decode("id", as: UserID.self)
            }
        } catch let error as PostgresError where error.sqlState == .uniqueViolation {
            return nil
        }
    }

    /// All accounts, by address.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func list() async throws -> [UserRecord] {
        try await perform { connection in
            try await connection.query(
                "SELECT \(unescaped: Self.recordColumns) FROM app.users ORDER BY lower(email)"
            ).map(UserRecord.init)
        }
    }

    /// Activates or deactivates an account.
    ///
    /// Deactivating ends its sign-ins and streams.
    ///
    /// - Returns: False when there is no such account.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func setActive(_ isActive: Bool, email: EmailAddress) async throws -> Bool {
        try await perform { connection in
            try await connection.execute(
                """
                UPDATE app.users SET is_active = \(isActive), updated_at = clock_timestamp()
                WHERE lower(email) = lower(\(email.description))
                """) > 0
        }
    }

    /// Replaces a password, and ends all sign-ins of the account.
    ///
    /// In two statements: one that begins with the old password meanwhile holds the user's row, and is seen by the second.
    ///
    /// - Returns: False when there is no such account.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func setPassword(hash: String, email: EmailAddress) async throws -> Bool {
        try await perform { connection in
            let rows = try await connection.query(
                """
                UPDATE app.users SET password_hash = \(hash), updated_at = clock_timestamp()
                WHERE lower(email) = lower(\(email.description)) RETURNING id
                """)
            guard let user = try rows.first?.decode("id", as: UserID.self) else { return false }
            _ = try await connection.execute(
                """
                UPDATE app.auth_sessions SET revoked_at = clock_timestamp(), revoked_reason = 'password_changed'
                WHERE user_id = \(user) AND revoked_at IS NULL
                """)
            return true
        }
    }

    /// Replaces the hash of a password by another of the same password, unless it was changed meanwhile.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func replaceHash(_ old: String, by new: String, of user: UserID) async throws {
        _ = try await pool.query("SELECT app.replace_password_hash(\(user), \(old), \(new))")
    }

    /// Ties a therapist to a patient, or revives a tie that has ended.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer; with SQLSTATE 23514 when one of them has another
    ///   role, or may not be tied.
    public func assign(therapist: UserID, patient: UserID) async throws {
        try await perform { connection in
            _ = try await connection.execute(
                """
                INSERT INTO app.therapist_patients AS tie (therapist_id, patient_id) VALUES (\(therapist), \(patient))
                ON CONFLICT (therapist_id, patient_id)
                DO UPDATE SET is_active = true, started_at = clock_timestamp(), ended_at = NULL WHERE NOT tie.is_active
                """)
        }
    }

    /// Ends the tie of a therapist to a patient, and with it what the therapist may see.
    ///
    /// - Returns: False when there was no active tie.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func unassign(therapist: UserID, patient: UserID) async throws -> Bool {
        try await perform { connection in
            try await connection.execute(
                """
                UPDATE app.therapist_patients SET is_active = false, ended_at = clock_timestamp()
                WHERE therapist_id = \(therapist) AND patient_id = \(patient) AND is_active
                """) > 0
        }
    }

    /// The active patients for whom the acting user may upload, by name.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func patientsToUploadFor() async throws -> [User] {
        try await perform { connection in
            try await connection.query(
                """
                SELECT p.id, p.email, p.full_name, p.role FROM app.users p
                WHERE p.role = 'patient' AND p.is_active
                  AND ((SELECT app.acting_may_all('upload'))
                       OR p.id = ANY (ARRAY(SELECT app.acting_patients('upload'))))
                ORDER BY lower(p.full_name), p.id
                """
            ).map(User.init)
        }
    }

    /// How a user stands to a patient; nil when there is no such patient whom the user may see, or the account is inactive.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func relation(of user: User, toPatient patient: UserID) async throws -> Relation? {
        try await perform { connection in
            try await connection.query(
                """
                SELECT EXISTS (SELECT FROM app.therapist_patients t
                               WHERE t.therapist_id = \(user.id) AND t.patient_id = p.id AND t.is_active) AS is_assigned
                FROM app.users p WHERE p.id = \(patient) AND p.role = 'patient' AND p.is_active
                """
            ).first.map {
                Relation(isPatient: user.id == patient, isAssigned: try $0.decode("is_assigned", as: Bool.self))
            }
        }
    }
}

extension User {
    init(_ row: PostgresRow) throws {
        self.init(
            id: try row.decode("id", as: UserID.self),
            email: try row.decode("email", as: String.self),
            fullName: try row.decode("full_name", as: String.self),
            role: try row.decode("role", as: Role.self))
    }
}
