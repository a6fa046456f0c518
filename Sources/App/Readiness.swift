import Dispatch
import Glibc
import Migrations
import Polling
import Postgres
import Recordings
import Store

/// Whether the process can do its work: what `GET /health/ready` asks.
///
/// Anyone may ask, without a token. An answer therefore counts for a second, and the database is asked once in that time, by one
/// connection.
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
    ///   - clock: Measures for how long an answer counts.
    init(pool: PostgresPool, recordings: RecordingStore, audit: AuditStore?, clock: any MonotonicClock) {
        let look = ReadinessLook(pool: pool, recordings: recordings, audit: audit)
        answer = RecentAnswer(lifetime: Self.lifetime, clock: clock) { await look.find() }
    }

    /// What keeps the process from its work, for the operator; nil if nothing does.
    func missing() async -> String? { await answer.value() }
}

/// One look at all that a process needs.
private struct ReadinessLook: Sendable {
    let pool: PostgresPool
    let recordings: RecordingStore
    let audit: AuditStore?

    /// The longest wait for each answer of the database.
    private static let patience = Duration.seconds(2)

    func find() async -> String? {
        do {
            let status = try await Migrator.status { try await pool.query($0, timeout: Self.patience) }
            guard status.isCurrent else { return "not applied: \(status.missingFiles)" }
            let row = try await pool.query(
                """
                SELECT pg_catalog.pg_is_in_recovery() AS is_standby,
                       current_setting('transaction_read_only') = 'on' AS is_read_only,
                       pg_catalog.pg_has_role(current_user, 'therapybridge_server', 'USAGE') AS has_rights,
                       current_user::text AS role
                """, timeout: Self.patience)[0]
            if try row.decode("is_standby", as: Bool.self) { return "the database is a standby and takes no changes" }
            if try row.decode("is_read_only", as: Bool.self) { return "the database is read-only" }
            guard try row.decode("has_rights", as: Bool.self) else {
                return "the role \(try row.decode("role", as: String.self)) is not a member of therapybridge_server"
            }
            do {
                try await audit?.rehearse(timeout: Self.patience)
            } catch {
                return "the audit log cannot be written: \(error)"
            }
        } catch {
            return "\(error)"
        }
        return await isFolderUsable() ? nil : "the folder of UPLOAD_DIR is missing, or this account may not write to it"
    }

    /// Asks on a thread that may wait: a file system of the network may not answer.
    private func isFolderUsable() async -> Bool {
        let path = "\(recordings.directory)"
        return await withCheckedContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(returning: access(path, R_OK | W_OK | X_OK) == 0) }
        }
    }
}
