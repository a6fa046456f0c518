public import Domain
public import Postgres

/// An account as sign-in and administration see it.
public struct Account: Sendable {
    public var user: User
    public var isActive: Bool
    /// The scrypt hash; nil when nobody can sign in with a password.
    public var passwordHash: String?
}

/// The users and their assignments: `app.users`, `app.therapist_patients`.
public struct UserStore: Sendable {
    let pool: PostgresPool

    public init(pool: PostgresPool) { self.pool = pool }

    /// The account that goes by an address; nil when there is none.
    public func account(email: EmailAddress) async throws -> Account? {
        try await pool.query(
            """
            SELECT id, email, full_name, role, is_active, password_hash FROM app.users
            WHERE lower(email) = lower(\(email.description))
            """
        ).first.map(Account.init)
    }

    /// The account of a user who comes with a token, if the sign-in behind the token still stands.
    ///
    /// - Returns: The account, and whether the sign-in stands; nil when there is no such user.
    public func account(of user: UserID, signIn: SignInID) async throws -> (account: Account, isSignedIn: Bool)? {
        try await pool.query(
            """
            SELECT u.id, u.email, u.full_name, u.role, u.is_active, u.password_hash,
                   EXISTS (SELECT FROM app.auth_sessions s
                           WHERE s.id = \(signIn) AND s.user_id = u.id
                             AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()) AS signed_in
            FROM app.users u WHERE u.id = \(user)
            """
        ).first.map { (try Account($0), try $0.decode("signed_in", as: Bool.self)) }
    }

    /// Adds an account.
    ///
    /// - Returns: Its id; nil when the address is taken.
    public func add(
        email: EmailAddress, fullName: String, role: Role, passwordHash: String?
    ) async throws -> UserID? {
        do {
            let rows = try await pool.query(
                """
                INSERT INTO app.users (email, full_name, role, password_hash)
                VALUES (\(email.description), \(fullName), \(role.rawValue), \(passwordHash))
                RETURNING id
                """)
            return try rows.first?.decode("id", as: UserID.self)
        } catch let error as PostgresError where error.sqlState == .uniqueViolation {
            return nil
        }
    }

    /// All accounts, by address.
    public func list() async throws -> [Account] {
        try await pool.query(
            "SELECT id, email, full_name, role, is_active, password_hash FROM app.users ORDER BY lower(email)"
        ).map(Account.init)
    }

    /// Activates or deactivates an account.
    ///
    /// Deactivating ends its sign-ins and streams.
    ///
    /// - Returns: False when there is no such account.
    public func setActive(_ isActive: Bool, email: EmailAddress) async throws -> Bool {
        try await pool.execute(
            """
            UPDATE app.users SET is_active = \(isActive), updated_at = clock_timestamp()
            WHERE lower(email) = lower(\(email.description))
            """) > 0
    }

    /// Replaces a password, and ends all sign-ins of the account.
    ///
    /// In two statements: one that begins with the old password meanwhile holds the user's row, and is seen by the second.
    ///
    /// - Returns: False when there is no such account.
    public func setPassword(hash: String, email: EmailAddress) async throws -> Bool {
        try await pool.withTransaction { connection in
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
    public func replaceHash(_ old: String, by new: String, of user: UserID) async throws {
        _ = try await pool.execute(
            "UPDATE app.users SET password_hash = \(new) WHERE id = \(user) AND password_hash = \(old)")
    }

    /// Ties a therapist to a patient, or revives a tie that has ended.
    public func assign(therapist: UserID, patient: UserID) async throws {
        _ = try await pool.execute(
            """
            INSERT INTO app.therapist_patients AS tie (therapist_id, patient_id) VALUES (\(therapist), \(patient))
            ON CONFLICT (therapist_id, patient_id)
            DO UPDATE SET is_active = true, started_at = clock_timestamp(), ended_at = NULL WHERE NOT tie.is_active
            """)
    }

    /// Ends the tie of a therapist to a patient, and with it what the therapist may see.
    ///
    /// - Returns: False when there was no active tie.
    public func unassign(therapist: UserID, patient: UserID) async throws -> Bool {
        try await pool.execute(
            """
            UPDATE app.therapist_patients SET is_active = false, ended_at = clock_timestamp()
            WHERE therapist_id = \(therapist) AND patient_id = \(patient) AND is_active
            """) > 0
    }

    /// The active patients whom a user may upload for, by name: a therapist's assigned ones, or for an admin all.
    public func patients(of user: User) async throws -> [User] {
        try await pool.query(
            """
            SELECT p.id, p.email, p.full_name, p.role FROM app.users p
            WHERE p.role = 'patient' AND p.is_active
              AND (\(user.role == .admin) OR EXISTS (
                    SELECT FROM app.therapist_patients t
                    WHERE t.therapist_id = \(user.id) AND t.patient_id = p.id AND t.is_active))
            ORDER BY lower(p.full_name), p.id
            """
        ).map(User.init)
    }

    /// How a user stands to a patient; nil when there is no such patient, or the account is inactive.
    public func relation(of user: User, toPatient patient: UserID) async throws -> Relation? {
        try await pool.query(
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

extension Account {
    init(_ row: PostgresRow) throws {
        self.init(
            user: try User(row),
            isActive: try row.decode("is_active", as: Bool.self),
            passwordHash: try row.decode("password_hash", as: String?.self))
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
