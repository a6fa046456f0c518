import Credentials
import Logging
import Migrations
import Polling
import Postgres
import SettingsReading

/// Waits at the start of a process until its database answers, and checks that the process may use it.
struct DatabaseStart: Sendable {
    let database: DatabaseSettings
    /// The issuer of the site's identity provider, or nil if the site has none.
    let issuer: String?
    /// The clock of connections.
    let databaseClock: any MonotonicClock
    /// The clock of the wait.
    let clock: any MonotonicClock
    let logger: Logger

    /// The time between two attempts.
    static let pause = Duration.seconds(1)
    /// After this time the line about the wait is logged again.
    private static let reminder = Duration.seconds(60)

    /// Waits and checks.
    ///
    /// - Throws: ``SettingError`` for what waiting cannot mend.
    func run() async throws {
        try await waiting(for: "DATABASE_URL") {
            try await PostgresConnection.withConnection(
                database.queries(name: "therapybridge", logger: logger), clock: databaseClock, check)
        }
        guard database.listensElsewhere else { return }
        do {
            try await PostgresConnection.withConnection(database.listener(logger: logger), clock: databaseClock) {
                try await DatabaseFitness.read($0).check(setting: "DATABASE_LISTEN_URL")
            }
        } catch let error as PostgresError {
            let refusal = DatabaseRefusal(error, setting: "DATABASE_LISTEN_URL")
            // The server serves without notifications, and the listener logs that it tries again.
            if refusal.isPermanent { throw refusal.error }
        }
    }

    /// Repeats an attempt until the database answers.
    private func waiting(for setting: String, _ attempt: () async throws -> Void) async throws {
        var lastLine: (text: String, at: ContinuousClock.Instant)?
        while true {
            let refusal: DatabaseRefusal
            do {
                try await attempt()
                if lastLine != nil { logger.notice("the database answers") }
                return
            } catch let error as PostgresError {
                guard error.code != .cancelled else { throw CancellationError() }
                refusal = DatabaseRefusal(error, setting: setting)
            }
            guard !refusal.isPermanent else { throw refusal.error }
            let now = clock.now
            if lastLine.map({ $0.text != refusal.cause || now - $0.at >= Self.reminder }) ?? true {
                logger.warning(
                    "waiting for the database",
                    metadata: [
                        "setting": "\(setting)", "reason": "\(refusal.cause)", "remedy": "\(refusal.remedy)",
                    ])
                lastLine = (refusal.cause, now)
            }
            try await clock.sleep(for: Self.pause)
        }
    }

    // MARK: - Checks

    private func check(_ connection: PostgresConnection) async throws {
        try await DatabaseFitness.read(connection).check(setting: "DATABASE_URL")
        try await checkSchema(connection)
        for role in try await DatabaseRole.read(connection) { try role.check() }
        try await SessionSettings.check(connection, setting: "DATABASE_URL")
        if let issuer { try await checkRegistration(of: issuer, connection) }
        try await Installation.settle(connection, logger: logger)
    }

    /// Throws if the schema lacks a migration of this binary, or has one with other contents.
    private func checkSchema(_ connection: PostgresConnection) async throws {
        let status: MigrationStatus
        do {
            status = try await Migrator.status { try await connection.query($0) }
        } catch let error as PostgresError where error.sqlState == .insufficientPrivilege {
            throw SettingError("DATABASE_URL", "its role may not read the schema; use therapybridge_server")
        }
        guard status.edited.isEmpty else {
            throw SettingError(
                status.edited.map(\.filename).joined(separator: ", "),
                "differs from what was applied; run the binary that the schema belongs to, or: therapybridge migrate status"
            )
        }
        guard status.isCurrent else {
            throw SettingError(status.missingFiles, "not applied; run: therapybridge migrate up")
        }
    }

    /// Throws if the database lets no sign-in begin with a token of the identity provider.
    private func checkRegistration(of issuer: String, _ connection: PostgresConnection) async throws {
        let isRegistered = try await connection.query("SELECT app.is_registered_provider(\(issuer))")[0]
            .decode(0, as: Bool.self)
        guard isRegistered else {
            throw SettingError(
                "JWT_ISSUER",
                "is not registered in the database; run as a member of therapybridge_owner: "
                    + "INSERT INTO app.identity_providers (issuer) VALUES ('the value of JWT_ISSUER')")
        }
    }
}
