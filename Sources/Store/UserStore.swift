public import Domain
public import Postgres

/// An account with the data for a sign-in.
public struct Account: Sendable {
    /// The id of the account.
    public var id: UserID
    /// False if the account may not sign in.
    public var isActive: Bool
    /// The scrypt hash without its last part: cost and salt; nil if the account has no password.
    ///
    /// The server's role cannot read a hash.
    public var passwordParameters: String?

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

    /// Reads the columns of an account.
    ///
    /// - Throws: ``PostgresError`` with code `decoding` if a column has another type.
    init(_ row: PostgresRow) throws {
        id = try row.decode("id", as: UserID.self)
        isActive = try row.decode("is_active", as: Bool.self)
        passwordParameters = try row.decode("password_parameters", as: String?.self)
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

    /// The account of an address; nil if no account has the address.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func account(email: EmailAddress) async throws -> Account? {
        try await pool.query("SELECT * FROM app.account_by_address(\(email.description))").first.map(Account.init)
    }

    /// The outcome of a comparison of passwords.
    public enum PasswordVerdict: String, Sendable {
        /// The password is right, and the account is active.
        case right
        /// The password is right, and the account is inactive.
        case inactive
        /// The password is wrong, or the account has no password or does not exist.
        case wrong
    }

    /// Compares a password with the stored hash.
    ///
    /// - Parameters:
    ///   - presented: The hash that the server has computed from the password, with the salt and the cost of the stored
    ///     one.
    ///   - user: The account, which need not exist.
    /// - Returns: The verdict.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func compare(_ presented: String, of user: UserID) async throws -> PasswordVerdict {
        let rows = try await pool.query("SELECT app.check_password(\(user), \(presented)) AS verdict")
        return try rows.first.flatMap { PasswordVerdict(rawValue: try $0.decode("verdict", as: String.self)) } ?? .wrong
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
                "SELECT \(unescaped: Self.recordColumns) FROM app.users ORDER BY lower(email COLLATE \"C\")"
            ).map(UserRecord.init)
        }
    }

    /// Activates or deactivates an account.
    ///
    /// A deactivation ends the account's sign-ins for good, and with them its rights and streams.
    ///
    /// - Returns: False if no account has the address.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func setActive(_ isActive: Bool, email: EmailAddress) async throws -> Bool {
        try await perform { connection in
            try await connection.execute(
                """
                UPDATE app.users SET is_active = \(isActive), updated_at = clock_timestamp()
                WHERE lower(email COLLATE "C") = lower(\(email.description) COLLATE "C")
                """) > 0
        }
    }

    /// Replaces a password.
    ///
    /// A trigger ends all sign-ins of the account.
    ///
    /// - Returns: False if no account has the address.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func setPassword(hash: String, email: EmailAddress) async throws -> Bool {
        try await perform { connection in
            try await connection.execute(
                """
                UPDATE app.users SET password_hash = \(hash), updated_at = clock_timestamp()
                WHERE lower(email COLLATE "C") = lower(\(email.description) COLLATE "C")
                """) > 0
        }
    }

    /// Replaces a password hash by a costlier hash of the same password, which ends no sign-in.
    ///
    /// - Parameters:
    ///   - presented: The present hash, as for ``compare(_:of:)``.
    ///   - rehashed: The new hash.
    ///   - user: The account.
    /// - Returns: False if the presented hash is not the stored one any more.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func replace(_ presented: String, by rehashed: String, of user: UserID) async throws -> Bool {
        let rows = try await pool.query("SELECT app.rehash_password(\(user), \(presented), \(rehashed)) AS is_replaced")
        return try rows.first?.decode("is_replaced", as: Bool.self) ?? false
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

    /// Whether the acting user may do something with the sessions of a patient.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func may(_ action: SessionAction, sessionsOf patient: UserID) async throws -> Bool {
        try await perform { connection in
            try await connection.query("SELECT app.acting_may(\(action.rawValue), \(patient)) AS may")
                .first?.decode("may", as: Bool.self) ?? false
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
