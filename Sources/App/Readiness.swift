import Migrations
import Polling
import Postgres
import Recordings
import Store

/// Whether the process can do its work: what `GET /health/ready` asks.
///
/// Anyone may ask, without a token. An answer therefore counts for a second, and the database is asked once in that time, by one
/// connection.
///
/// A load balancer waits a few seconds for an answer. It therefore comes as soon as PostgreSQL refuses a connection, and within
/// `patience` if PostgreSQL or the disk is silent. Other requests wait out a restart of PostgreSQL; see ``PostgresPool``.
struct Readiness: Sendable {
    private let answer: RecentAnswer<String?>

    /// For how long an answer counts.
    static let lifetime = Duration.seconds(1)

    /// Asks the parts of a process.
    ///
    /// - Parameters:
    ///   - pool: The connections of the process.
    ///   - recordings: The folder of recordings.
    ///   - audit: The audit log; nil for a process that records no accesses.
    ///   - patience: How long the database and the disk may take to answer.
    ///   - clock: Measures for how long an answer counts, and how long it takes.
    init(
        pool: PostgresPool, recordings: RecordingStore, audit: AuditStore?, patience: Duration,
        clock: any MonotonicClock
    ) {
        let look = ReadinessLook(
            pool: pool, folder: FolderProbe(path: "\(recordings.directory)", clock: clock), audit: audit,
            patience: patience, clock: clock)
        answer = RecentAnswer(lifetime: Self.lifetime, clock: clock) { await look.find() }
    }

    /// What keeps the process from its work, for the operator; nil if nothing does.
    func missing() async -> String? { await answer.value() }
}

/// One look at all that a process needs.
private struct ReadinessLook: Sendable {
    let pool: PostgresPool
    let folder: FolderProbe
    let audit: AuditStore?
    let patience: Duration
    let clock: any MonotonicClock

    /// Asks the database and the disk at the same time: one that is silent does not add to the wait for the other.
    func find() async -> String? {
        async let answer = folder.answer(within: patience)
        let missing = await missingInDatabase()
        let found = await answer
        if let missing { return missing }
        return switch found {
        case .usable: nil
        case .unusable: "the folder of UPLOAD_DIR is missing, or this account may not write to it"
        case .silent: "the file system of UPLOAD_DIR has not answered within \(patience)"
        }
    }

    private func missingInDatabase() async -> String? {
        let deadline = clock.now + patience
        do {
            return try await pool.withConnection(waitTimeout: patience, givesUpWhenRefused: true) { connection in
                try await missing(on: connection, until: deadline)
            }
        } catch let error as PostgresError where error.code == .deadlineExceeded || error.code == .poolExhausted {
            return "the database has not answered within \(patience): \(error)"
        } catch {
            return "\(error)"
        }
    }

    private func missing(
        on connection: PostgresConnection, until deadline: ContinuousClock.Instant
    ) async throws -> String? {
        var rest: Duration { max(.milliseconds(1), deadline - clock.now) }
        let status = try await Migrator.status { try await connection.query($0, timeout: rest) }
        guard status.isCurrent else { return "not applied: \(status.missingFiles)" }
        let row = try await connection.query(
            """
            SELECT pg_catalog.pg_is_in_recovery() AS is_standby,
                   current_setting('transaction_read_only') = 'on' AS is_read_only,
                   pg_catalog.pg_has_role(current_user, 'therapybridge_server', 'USAGE') AS has_rights,
                   current_user::text AS role
            """, timeout: rest)[0]
        if try row.decode("is_standby", as: Bool.self) { return "the database is a standby and takes no changes" }
        if try row.decode("is_read_only", as: Bool.self) { return "the database is read-only" }
        guard try row.decode("has_rights", as: Bool.self) else {
            return "the role \(try row.decode("role", as: String.self)) is not a member of therapybridge_server"
        }
        do {
            try await audit?.rehearse(on: connection, timeout: rest)
        } catch {
            return "the audit log cannot be written: \(error)"
        }
        return nil
    }
}
