import Credentials
public import Domain
import FoundationEssentials
import HTTPAPI
public import Logging
import Migrations
import Postgres
public import SettingsReading
import Store

/// A command failed.
///
/// The description is one line for standard error.
public struct CommandFailure: Error, CustomStringConvertible {
    /// The line.
    public let description: String

    /// Makes a failure with one line of text.
    public init(_ description: String) { self.description = description }
}

/// The commands of operators.
///
/// They connect to `DATABASE_MIGRATE_URL`.
public struct Operations: Sendable {
    let reader: SettingsReader
    private let configuration: PostgresConfiguration
    private let logger: Logger

    /// Reads the settings of the database.
    ///
    /// - Parameters:
    ///   - reader: Reads the settings.
    ///   - logger: Receives the log.
    /// - Throws: ``SettingError`` when `DATABASE_MIGRATE_URL` is missing or bad.
    public init(reader: SettingsReader = SettingsReader(), logger: Logger) throws {
        self.reader = reader
        self.logger = logger
        configuration = try OperatorDatabaseSettings(reader).queries(logger: logger)
    }

    // MARK: - Migrations

    /// Applies the missing migrations.
    ///
    /// - Parameters:
    ///   - dryRun: If true, nothing is applied.
    ///   - isClusterShared: True if all databases of the cluster are one trust domain.
    /// - Returns: The names of the files that were applied, or would be with `dryRun`.
    /// - Throws: ``SettingError`` when the cluster has another installation, or roles with rights that they must not have;
    ///   `MigrationError`, or the error of the database.
    public func migrateUp(dryRun: Bool, isClusterShared: Bool = false) async throws -> [String] {
        try await migrating { migrator in
            if dryRun { return try await migrator.status().missing.map(\.filename) }
            return try await migrator.up(isClusterShared: isClusterShared).map(\.filename)
        }
    }

    /// Makes the roles of the cluster, and the caller a member of the owner's role.
    ///
    /// - Parameter isClusterShared: True if all databases of the cluster are one trust domain.
    /// - Throws: ``SettingError`` when the cluster has another installation, or roles with rights that they must not have;
    ///   the error of the database.
    public func migrateRoles(isClusterShared: Bool) async throws {
        try await migrating { try await $0.makeRoles(isClusterShared: isClusterShared) }
    }

    /// Makes the cluster into which a backup was restored the one of the database: forgets positions of the old cluster,
    /// and ends all sign-ins.
    ///
    /// - Returns: How many sign-ins it ended.
    /// - Throws: ``SettingError`` when the database or its role is not fit for it; the error of the database.
    public func migrateAdopt() async throws -> Int64 {
        try await migrating { _ in
            try await PostgresConnection.withConnection(configuration) { connection in
                try await Installation.forgetPositions(connection)
                return try await connection.query("SELECT app.adopt_cluster()")[0].decode(0, as: Int64.self)
            }
        }
    }

    /// Checks the database, which no migration could mend, and lends a migrator.
    ///
    /// Errors name the setting of the database.
    private func migrating<Result>(_ body: (Migrator) async throws -> Result) async throws -> Result {
        let setting = OperatorDatabaseSettings.name
        return try await DatabaseRefusal.explaining(setting) {
            try await PostgresConnection.withConnection(configuration) {
                try await DatabaseFitness.read($0).check(setting: setting)
            }
            do {
                return try await body(Migrator(configuration: configuration, logger: logger))
            } catch MigrationError.unsafeCluster(let text) {
                throw SettingError(setting, "the cluster is not safe: \(text)")
            }
        }
    }

    /// Lists the state and the file of each migration, one line each.
    ///
    /// - Returns: The lines.
    /// - Throws: The error of the database.
    public func migrationStatus() async throws -> [String] {
        let status = try await migrating { try await $0.status() }
        return Migration.carried.map { migration in
            if status.missing.contains(migration) { return "missing  \(migration.filename)" }
            if status.edited.contains(migration) { return "edited   \(migration.filename)" }
            return "applied  \(migration.filename)"
        } + status.newer.map { "newer    \($0)" }
    }

    /// Checks that the schema matches this binary.
    ///
    /// - Throws: ``CommandFailure`` naming the missing and the edited files, or the error of the database.
    public func validateMigrations() async throws {
        let status = try await migrating { try await $0.status() }
        let complaints =
            status.missing.map { "\($0.filename) is missing" } + status.edited.map { "\($0.filename) was edited" }
        guard complaints.isEmpty else { throw CommandFailure(complaints.joined(separator: "; ")) }
    }

    // MARK: - Accounts

    /// Adds an account.
    ///
    /// - Parameters:
    ///   - email: The address to sign in with.
    ///   - name: The person's name, 1 to 200 characters.
    ///   - role: The role of the account.
    ///   - password: The password, or nil for an account that cannot sign in yet.
    /// - Returns: The new account's id.
    /// - Throws: ``CommandFailure`` when a value is bad or the address is taken; the error of the database.
    public func addUser(email: String, name: String, role: Role, password: String?) async throws -> UserID {
        let address = try address(email)
        guard let name = FullName(name)?.description else { throw CommandFailure("a name has 1 to 200 characters") }
        let hash: String? = if let password { try await hashed(password, address) } else { nil }
        return try await withUsers { users in
            guard let id = try await users.add(email: address, fullName: name, role: role, passwordHash: hash) else {
                throw CommandFailure("an account for \(address) already exists")
            }
            return id
        }
    }

    /// Lists the accounts, sorted by address: id, role, `active` or `inactive`, address and name, separated by tabs.
    ///
    /// - Returns: One line for each account.
    /// - Throws: The error of the database.
    public func listUsers() async throws -> [String] {
        try await withUsers { users in
            try await users.list().map { account in
                [
                    account.user.id.description, account.user.role.rawValue, account.isActive ? "active" : "inactive",
                    account.user.email, account.user.fullName,
                ].joined(separator: "\t")
            }
        }
    }

    /// Activates or deactivates an account.
    ///
    /// A deactivation ends its sign-ins for good.
    ///
    /// - Parameters:
    ///   - isActive: The new state.
    ///   - email: The address of the account.
    /// - Throws: ``CommandFailure`` when there is no such account; the error of the database.
    public func setActive(_ isActive: Bool, email: String) async throws {
        let address = try address(email)
        try await withUsers { users in
            guard try await users.setActive(isActive, email: address) else { throw Self.noAccount(address) }
        }
    }

    /// Replaces a password, and ends all sign-ins of the account.
    ///
    /// - Parameters:
    ///   - password: The new password.
    ///   - email: The address of the account.
    /// - Throws: ``CommandFailure`` when the password is refused, or there is no such account; the error of the
    ///   database.
    public func setPassword(_ password: String, email: String) async throws {
        let address = try address(email)
        let hash = try await hashed(password, address)
        try await withUsers { users in
            guard try await users.setPassword(hash: hash, email: address) else { throw Self.noAccount(address) }
        }
    }

    // MARK: - Assignments

    /// Assigns a therapist to a patient.
    ///
    /// - Parameters:
    ///   - therapist: The address of the therapist.
    ///   - patient: The address of the patient.
    /// - Throws: ``CommandFailure`` when an account is missing or has another role; the error of the database.
    public func assign(therapist: String, patient: String) async throws {
        try await withUsers { users in
            let (therapist, patient) = try await pair(therapist, patient, users)
            try await users.assign(therapist: therapist, patient: patient)
        }
    }

    /// Ends the assignment of a therapist to a patient.
    ///
    /// - Parameters:
    ///   - therapist: The address of the therapist.
    ///   - patient: The address of the patient.
    /// - Throws: ``CommandFailure`` when an account is missing or has another role, or the therapist is not assigned;
    ///   the error of the database.
    public func unassign(therapist: String, patient: String) async throws {
        try await withUsers { users in
            let ids = try await pair(therapist, patient, users)
            guard try await users.unassign(therapist: ids.0, patient: ids.1) else {
                throw CommandFailure("\(therapist) is not assigned to \(patient)")
            }
        }
    }

    private func pair(_ therapist: String, _ patient: String, _ users: UserStore) async throws -> (UserID, UserID) {
        func id(_ email: String, _ role: Role) async throws -> UserID {
            let address = try address(email)
            let account = try await account(of: address, users)
            guard try account.user.role == role else { throw CommandFailure("\(address) is not a \(role.rawValue)") }
            return account.id
        }
        return (try await id(therapist, .therapist), try await id(patient, .patient))
    }

    // MARK: - Tokens

    /// Makes an access token, and a sign-in of the same lifetime for it.
    ///
    /// - Parameters:
    ///   - email: The address of the account.
    ///   - lifetime: How long the token is valid, or nil for `JWT_ACCESS_TTL`.
    /// - Returns: The token.
    /// - Throws: ``CommandFailure`` when the account is missing or inactive; ``SettingError`` for a bad secret; the
    ///   error of the database.
    public func token(email: String, lifetime: Duration?) async throws -> String {
        let address = try address(email)
        let tokens = await AccessTokens(try TokenSettings(reader))
        let standard = try SignInSettings(reader).accessLifetime
        let lifetime = lifetime ?? standard
        return try await withPool { pool in
            let account = try await account(of: address, UserStore(pool: pool))
            guard
                let signIn = try await SignInStore(pool: pool)
                    .beginForOperator(user: account.id, lifetime: lifetime)
            else { throw CommandFailure("the account of \(address) is inactive") }
            return try await tokens.issue(
                AccessClaims(user: account.id, signIn: signIn, expiresAt: .now().advanced(by: lifetime)))
        }
    }

    // MARK: - Audit

    /// A filter of the audit log.
    ///
    /// A nil member matches every record.
    public struct AuditQuery: Sendable {
        /// The address of the user who acted.
        public var user: String?
        /// The address of the patient whom the record is about.
        public var patient: String?
        /// The session that the record is about.
        public var session: SessionID?
        /// The action.
        public var action: AuditAction?
        /// True for allowed actions only, false for refused actions only.
        public var isAllowed: Bool?
        /// The earliest time, inclusive.
        public var from: Timestamp?
        /// The latest time, exclusive.
        public var to: Timestamp?
        /// The largest number of records.
        public var limit: Int

        /// Makes a query that matches every record.
        ///
        /// - Parameter limit: The largest number of records.
        public init(limit: Int) { self.limit = limit }
    }

    /// Reads the newest records of the audit log, the newest first.
    ///
    /// - Parameter query: The filter.
    /// - Returns: The records.
    /// - Throws: ``CommandFailure`` when there is no account for an address; the error of the database.
    public func audit(_ query: AuditQuery) async throws -> [AuditEntry] {
        try await withPool { pool in
            var filter = AuditStore.Filter(limit: query.limit)
            filter.user = try await id(of: query.user, in: pool)
            filter.patient = try await id(of: query.patient, in: pool)
            filter.session = query.session
            filter.action = query.action
            filter.isAllowed = query.isAllowed
            filter.from = query.from
            filter.to = query.to
            return try await AuditStore(pool: pool).list(filter)
        }
    }

    private func id(of email: String?, in pool: PostgresPool) async throws -> UserID? {
        guard let email else { return nil }
        return try await account(of: try address(email), UserStore(pool: pool)).user.id
    }

    // MARK: - Parts

    private func address(_ email: String) throws -> EmailAddress {
        guard let address = EmailAddress(email) else { throw CommandFailure("\(email) is not an e-mail address") }
        return address
    }

    private func account(of address: EmailAddress, _ users: UserStore) async throws -> Account {
        guard let account = try await users.account(email: address) else { throw Self.noAccount(address) }
        return account
    }

    private static func noAccount(_ address: EmailAddress) -> CommandFailure {
        CommandFailure("there is no account for \(address)")
    }

    private func hashed(_ password: String, _ address: EmailAddress) async throws -> String {
        do {
            return try await Passwords(threads: 1).hash(password, for: address)
        } catch Passwords.Failure.unacceptable(let rule) {
            throw CommandFailure(rule)
        }
    }

    private func withUsers<Result: Sendable>(
        _ body: @escaping @Sendable (UserStore) async throws -> Result
    ) async throws -> Result {
        try await withPool { try await body(UserStore(pool: $0)) }
    }

    /// Lends a pool of one connection while `body` runs.
    func withPool<Result: Sendable>(
        _ body: @escaping @Sendable (PostgresPool) async throws -> Result
    ) async throws -> Result {
        try await DatabaseRefusal.explaining(OperatorDatabaseSettings.name) {
            try await PostgresPool.withPool(configuration, settings: PostgresPoolConfiguration(size: 1), body)
        }
    }
}
