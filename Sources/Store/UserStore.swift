public import Domain
public import Postgres

/// An account with the data for a sign-in.
public struct Account: Sendable {
    /// The id of the account.
    public var id: UserID
    /// False if the account may not sign in.
    public var isActive: Bool
    /// The scrypt hash; nil if the account has no password.
    public var passwordHash: String?

    private let readUser: Result<User, UnreadableRow>

    /// The user.
    ///
    /// The server first checks the password, and only then reads the user: an attacker must not learn which accounts
    /// have a role of a newer release.
    ///
    /// - Throws: ``UnreadableRow`` for a role that this release does not know.
    public var user: User {
        get throws { try readUser.get() }
    }

    init(_ row: PostgresRow) throws {
        id = try row.decode("id", as: UserID.self)
        isActive = try row.decode("is_active", as: Bool.self)
        passwordHash = try row.decode("password_hash", as: String?.self)
        do {
            readUser = .success(try User(row))
        } catch let error as UnreadableRow {
            readUser = .failure(error)
        }
    }
}

/// The users and their assignments: `app.users`, `app.therapist_patients`.
///
/// The methods for a sign-in run without an acting user. All other methods see the rows that the acting user may see,
/// and no row without one. On a connection of the schema's owner they see every row.
public struct UserStore: Sendable {
    private let pool: PostgresPool
    private var actor: Principal?

    /// A store that borrows its connections from a pool.
    public init(pool: PostgresPool) { self.pool = pool }

    /// The same store with an acting user.
    public func acting(as principal: Principal) -> UserStore {
        var store = self
        store.actor = principal
        return store
    }

    /// Runs statements in one transaction, as the acting user if there is one.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; every error of `body`, after a rollback.
    func perform<Value>(
        isolation: isolated (any Actor)? = #isolation, _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        if let actor { return try await pool.acting(as: actor, body) }
        return try await pool.withTransaction(body)
    }

    /// The account of an address, with its password hash; nil if no account has the address.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func account(email: EmailAddress) async throws -> Account? {
        try await pool.query("SELECT * FROM app.account_by_address(\(email.description))").first.map(Account.init)
    }

    /// The user of an access token, active or not; nil if the token's sign-in has ended.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` for a role that this release does
    ///   not know.
    public func account(of user: UserID, signIn: SignInID) async throws -> (user: User, isActive: Bool)? {
        try await pool.query("SELECT * FROM app.account_signed_in(\(user), \(signIn))").first.map {
            (try User($0), try $0.decode("is_active", as: Bool.self))
        }
    }

    /// Adds an account.
    ///
    /// - Parameters:
    ///   - email: The address.
    ///   - fullName: The name.
    ///   - role: The role.
    ///   - passwordHash: The scrypt hash; nil for an account without a password.
    /// - Returns: The id of the account; nil if another account has the address.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 42501 if the acting user may not
    ///   manage accounts.
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

    /// All accounts, ordered by address.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` if an account has a role that
    ///   this release does not know.
    public func list() async throws -> [UserRecord] {
        try await perform { connection in
            try await connection.query(
                "SELECT \(unescaped: Self.recordColumns) FROM app.users ORDER BY lower(email)"
            ).map(UserRecord.init)
        }
    }

    /// Activates or deactivates an account.
    ///
    /// A deactivation ends the account's rights and streams.
    ///
    /// - Returns: False if no account has the address.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func setActive(_ isActive: Bool, email: EmailAddress) async throws -> Bool {
        try await perform { connection in
            try await connection.execute(
                """
                UPDATE app.users SET is_active = \(isActive), updated_at = clock_timestamp()
                WHERE lower(email) = lower(\(email.description))
                """) > 0
        }
    }

    /// Replaces a password and ends all sign-ins of the account.
    ///
    /// It takes two statements. A sign-in that begins with the old password at the same time holds the user's row, and
    /// the second statement sees it.
    ///
    /// - Returns: False if no account has the address.
    /// - Throws: ``PostgresError`` if the database does not answer.
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

    /// Replaces a password hash by another hash of the same password, unless the password was changed meanwhile.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func replaceHash(_ old: String, by new: String, of user: UserID) async throws {
        _ = try await pool.query("SELECT app.replace_password_hash(\(user), \(old), \(new))")
    }

    /// Assigns a therapist to a patient, or reactivates an ended assignment.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 23514 if the accounts are not a
    ///   therapist and a patient, 42501 if the acting user may not manage accounts.
    public func assign(therapist: UserID, patient: UserID) async throws {
        try await perform { connection in
            _ = try await connection.execute(
                """
                INSERT INTO app.therapist_patients AS a (therapist_id, patient_id) VALUES (\(therapist), \(patient))
                ON CONFLICT (therapist_id, patient_id)
                DO UPDATE SET is_active = true, started_at = clock_timestamp(), ended_at = NULL WHERE NOT a.is_active
                """)
        }
    }

    /// Ends an assignment, and with it the therapist's rights.
    ///
    /// - Returns: False if no active assignment exists.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func unassign(therapist: UserID, patient: UserID) async throws -> Bool {
        try await perform { connection in
            try await connection.execute(
                """
                UPDATE app.therapist_patients SET is_active = false, ended_at = clock_timestamp()
                WHERE therapist_id = \(therapist) AND patient_id = \(patient) AND is_active
                """) > 0
        }
    }

    /// The active patients for whom the acting user may upload, ordered by name.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
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

    /// The relation of a user to a patient; nil if the acting user may see no such patient, or the patient is inactive.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func relation(of user: User, toPatient patient: UserID) async throws -> Relation? {
        try await perform { connection in
            try await connection.query(
                """
                SELECT EXISTS (SELECT FROM app.assigned_patients a
                               WHERE a.user_id = \(user.id) AND a.patient_id = p.id AND a.is_active) AS is_assigned
                FROM app.users p WHERE p.id = \(patient) AND p.role = 'patient' AND p.is_active
                """
            ).first.map {
                Relation(isPatient: user.id == patient, isAssigned: try $0.decode("is_assigned", as: Bool.self))
            }
        }
    }
}

extension User {
    /// Reads the columns `id`, `email`, `full_name` and `role`.
    ///
    /// - Throws: ``UnreadableRow`` for a role that this release does not know; ``PostgresError`` with code `decoding`
    ///   if a column has another type.
    init(_ row: PostgresRow) throws {
        self.init(
            id: try row.decode("id", as: UserID.self),
            email: try row.decode("email", as: String.self),
            fullName: try row.decode("full_name", as: String.self),
            role: try row.role("role"))
    }
}
