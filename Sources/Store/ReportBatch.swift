public import Domain
public import Postgres

/// A report and its caller.
public struct CallerReport: Sendable, Equatable {
    /// The report.
    public var report: ProgressReport
    /// The account that reports.
    public var user: UserID
    /// The sign-in of the request.
    public var signIn: SignInID
    /// True if the caller wants the progress after this report, and not only its version.
    public var wantsProgress: Bool

    /// A report of a caller.
    public init(_ report: ProgressReport, user: UserID, signIn: SignInID, wantsProgress: Bool = false) {
        self.report = report
        self.user = user
        self.signIn = signIn
        self.wantsProgress = wantsProgress
    }
}

/// The outcome of one report in a batch.
public enum ReportOutcome: Sendable, Equatable {
    /// The session has this version afterwards; the progress is nil unless the caller wants it.
    case accepted(version: Int64, progress: SessionProgress?)
    /// The database wrote nothing of this report.
    case refused(ReportRefusal)
}

/// Why the database refused one report of a batch.
public enum ReportRefusal: Error, Sendable, Hashable {
    /// The caller no longer exists, or the sign-in has ended.
    case notSignedIn
    /// The caller's account is inactive.
    case inactive
    /// The caller has no right to report.
    case notPermitted
    /// The report is stale, and this release cannot read the present state that the caller wants.
    case unreadable
    /// The error that `app.report_progress` would raise, or 55P03 if another transaction holds the session or the
    /// caller.
    ///
    /// `code` names the refusal, and `values` is a JSON object with the values of its words; nil for no values.
    case database(SQLState, code: String?, values: String? = nil)
}

extension ProgressStore {
    /// Reports progress for many sessions and callers in one transaction.
    ///
    /// Each report has the same outcome as if the reports were made one after the other, in this order. A refused
    /// report does not affect the others.
    ///
    /// - Parameters:
    ///   - reports: The reports, of any sessions and callers.
    ///   - waits: True to wait up to a second for each lock; false to refuse what another transaction has locked.
    /// - Returns: An outcome for each report, in the same order.
    /// - Throws: ``PostgresError`` if nothing was written; with SQLSTATE 55P03 if a lock was not free within its
    ///   second.
    public func report(_ reports: [CallerReport], waits: Bool) async throws -> [ReportOutcome] {
        struct Caller: Hashable {
            var user: UserID
            var signIn: SignInID
        }
        var callers: [Caller] = []
        // PostgreSQL counts the elements of an array from 1.
        var numbers: [Caller: Int32] = [:]
        let callerOfReport = reports.map { report in
            let caller = Caller(user: report.user, signIn: report.signIn)
            if let number = numbers[caller] { return number }
            callers.append(caller)
            numbers[caller] = Int32(callers.count)
            return Int32(callers.count)
        }
        // Most batches have no lease, and null is cheaper to look into than an array of nulls.
        let leases = reports.contains { $0.report.lease != nil } ? reports.map(\.report.lease?.text) : nil
        let rows = try await pool.query(
            """
            SELECT r.report, r.version, r.code, r.reason, r.detail, (r.state).*
            FROM app.report_progress_batch(
                \(callers.map(\.user)), \(callers.map(\.signIn)), \(callerOfReport),
                \(reports.map(\.report.sessionID)), \(reports.map(\.report.status.rawValue)),
                \(reports.map { Int32(clamping: $0.report.progress) }),
                \(reports.map(\.report.message)), \(reports.map(\.report.error)),
                \(reports.map { $0.report.estimatedTimeRemaining.map(Int32.init(clamping:)) }),
                \(reports.map { $0.report.attempt.map(Int32.init(clamping:)) }),
                \(leases),
                \(reports.map(\.wantsProgress)), \(waits)) AS r
            """)
        var outcomes = [ReportOutcome?](repeating: nil, count: reports.count)
        for row in rows {
            let index = Int(try row.decode("report", as: Int32.self)) - 1
            guard outcomes.indices.contains(index) else { throw StoreError.noRow }
            outcomes[index] = try ReportOutcome(row, wantsProgress: reports[index].wantsProgress)
        }
        return try outcomes.map {
            guard let outcome = $0 else { throw StoreError.noRow }
            return outcome
        }
    }
}

extension ReportOutcome {
    /// Reads a row of `app.report_progress_batch`.
    ///
    /// - Throws: ``PostgresError`` with code `decoding` if a column has another type.
    fileprivate init(_ row: PostgresRow, wantsProgress: Bool) throws {
        if let version = try row.decode("version", as: Int64?.self) {
            do {
                self = .accepted(version: version, progress: wantsProgress ? try SessionProgress(row) : nil)
            } catch is UnreadableRow {
                // If the report had been written, the row would have its status, which this release knows. The report
                // was therefore stale.
                self = .refused(.unreadable)
            }
        } else {
            self = .refused(
                ReportRefusal(
                    SQLState(try row.decode("code", as: String.self)), code: try row.decode("reason", as: String.self),
                    values: try row.decode("detail", as: String?.self)))
        }
    }
}

extension ReportRefusal {
    fileprivate init(_ state: SQLState, code: String, values: String?) {
        switch state {
        case .invalidAuthorization: self = code == "inactive" ? .inactive : .notSignedIn
        // With any other code, the report lacks the lease that it needs.
        case .insufficientPrivilege where code == "not_permitted": self = .notPermitted
        default: self = .database(state, code: code, values: values)
        }
    }
}
