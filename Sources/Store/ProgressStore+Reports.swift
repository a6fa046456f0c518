public import Domain
public import Postgres

/// A report, and who makes it.
public struct CallerReport: Sendable, Equatable {
    /// The report.
    public var report: ProgressReport
    /// The account that reports.
    public var user: UserID
    /// The sign-in that the request stands under.
    public var signIn: SignInID
    /// Whether the state as this report leaves it is wanted too, not the version alone.
    public var wantsProgress: Bool

    /// A report of a caller.
    public init(_ report: ProgressReport, user: UserID, signIn: SignInID, wantsProgress: Bool = false) {
        self.report = report
        self.user = user
        self.signIn = signIn
        self.wantsProgress = wantsProgress
    }
}

/// What came of one report among many.
public enum ReportOutcome: Sendable, Equatable {
    /// This version stands; the progress is there when it was wanted.
    case accepted(version: Int64, progress: SessionProgress?)
    /// Nothing of the report was written.
    case refused(ReportRefusal)
}

/// Why a report was not accepted while those beside it were.
public enum ReportRefusal: Error, Sendable, Hashable {
    /// The caller no longer exists, or the sign-in has ended.
    case notSignedIn
    /// The caller's account is inactive.
    case inactive
    /// The caller is neither a pipeline nor an admin.
    case notPermitted
    /// What `app.report_progress` would have raised; or 55P03 for a session that another transaction holds.
    case database(SQLState, message: String)
}

extension ProgressStore {
    /// Reports progress for many sessions and callers in one transaction.
    ///
    /// Each report comes to what it would have come to alone, in this order; one that is refused leaves the others.
    ///
    /// - Parameters:
    ///   - reports: The reports, of any sessions and callers.
    ///   - waits: Whether to wait for locks, a second each; otherwise what another transaction holds is refused.
    /// - Returns: An outcome for each report, in the order given.
    /// - Throws: ``PostgresError`` when nothing was written: with SQLSTATE 55P03 when a lock was waited for in vain.
    public func report(_ reports: [CallerReport], waits: Bool) async throws -> [ReportOutcome] {
        struct Caller: Hashable {
            var user: UserID
            var signIn: SignInID
        }
        var callers: [Caller] = []
        var places: [Caller: Int32] = [:]
        let callerOfReport = reports.map { report in
            let caller = Caller(user: report.user, signIn: report.signIn)
            if let place = places[caller] { return place }
            callers.append(caller)
            places[caller] = Int32(callers.count)
            return Int32(callers.count)
        }
        let rows = try await pool.query(
            """
            SELECT r.report, r.version, r.code, r.reason, (r.state).*
            FROM app.report_progress_batch(
                \(callers.map(\.user)), \(callers.map(\.signIn)), \(callerOfReport),
                \(reports.map(\.report.sessionID)), \(reports.map(\.report.status.rawValue)),
                \(reports.map { Int32(clamping: $0.report.progress) }),
                \(reports.map(\.report.message)), \(reports.map(\.report.error)),
                \(reports.map { $0.report.estimatedTimeRemaining.map(Int32.init(clamping:)) }),
                \(reports.map { $0.report.attempt.map(Int32.init(clamping:)) }),
                \(reports.map(\.wantsProgress)), \(waits)) AS r
            """)
        var outcomes = [ReportOutcome?](repeating: nil, count: reports.count)
        for row in rows {
            let place = Int(try row.decode("report", as: Int32.self)) - 1
            guard outcomes.indices.contains(place) else { throw StoreError.noRow }
            outcomes[place] = try ReportOutcome(row, wantsProgress: reports[place].wantsProgress)
        }
        return try outcomes.map {
            guard let outcome = $0 else { throw StoreError.noRow }
            return outcome
        }
    }
}

extension ReportOutcome {
    fileprivate init(_ row: PostgresRow, wantsProgress: Bool) throws {
        if let version = try row.decode("version", as: Int64?.self) {
            self = .accepted(version: version, progress: wantsProgress ? try SessionProgress(row) : nil)
        } else {
            let state = SQLState(try row.decode("code", as: String.self))
            let reason = try row.decode("reason", as: String.self)
            self = .refused(ReportRefusal(state, reason))
        }
    }
}

extension ReportRefusal {
    fileprivate init(_ state: SQLState, _ reason: String) {
        switch state {
        case .invalidAuthorization: self = reason == "inactive" ? .inactive : .notSignedIn
        case .insufficientPrivilege: self = .notPermitted
        default: self = .database(state, message: reason)
        }
    }
}
