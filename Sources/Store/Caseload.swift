public import Domain
import Postgres

/// The patients whose sessions a user may see.
public enum CaseloadScope: Sendable, Equatable {
    /// The sessions of all patients.
    case everybody
    /// The sessions of these patients.
    case patients(Set<UserID>)

    /// Whether the scope has the sessions of a patient.
    public func contains(_ patient: UserID) -> Bool {
        switch self {
        case .everybody: true
        case .patients(let patients): patients.contains(patient)
        }
    }
}

/// A user's caseload from one snapshot: the right to it, and the sessions that are not processed.
public struct Caseload: Sendable {
    /// Why the user is refused; nil if the user may see the caseload.
    public var refusal: SessionAuthorization.Verdict?
    /// The patients whose sessions the user may see.
    public var scope: CaseloadScope
    /// The sessions with their patients, oldest first.
    ///
    /// Sessions that this release cannot read are left out.
    public var sessions: [(patient: UserID, progress: SessionProgress)] = []
    /// The snapshot.
    public var position: FeedPosition
}

extension ProgressStore {
    /// Reads the caseload of a user who opens the stream of all sessions, and writes the audit record, in one
    /// statement.
    ///
    /// - Parameters:
    ///   - principal: The user and the user's sign-in.
    ///   - resumes: True if the user resumes from a position.
    ///   - requestID: The `X-Request-Id` of the answer, for the audit log.
    ///   - network: Where the request came from, for the audit log; nil if that is unknown.
    /// - Returns: The caseload, or why the user is refused.
    /// - Throws: ``PostgresError`` if the record was not written. The caller must then refuse the request.
    public func admitCaseload(
        of principal: Principal, resumes: Bool, requestID: RequestIdentifier?, network: ClientNetwork?
    ) async throws -> Caseload {
        let access = AuditedAccess(resumes ? .resumeCaseload : .openCaseload, by: principal, from: network)
        guard let plan = merger.plan([access]).first else { preconditionFailure("one access has one plan") }
        let rows = try await pool.query(
            """
            SELECT * FROM app.admit_caseload(
                \(principal.user), \(principal.signIn), \(access.action.rawValue), \(requestID)::text,
                \(network), \(plan.recordsAllowed), \(plan.recordsRefused))
            """)
        let caseload = try Self.caseload(from: rows)
        // The log leaves out users and sign-ins that do not exist.
        if caseload.refusal != .notSignedIn { merger.settle([(plan, isAllowed: caseload.refusal != .inactive)]) }
        return caseload
    }

    /// Reads the caseload of a follower again.
    ///
    /// - Parameters:
    ///   - principal: The user and the user's sign-in.
    ///   - known: The patients whose sessions the follower knows. For other patients, the caseload also has the
    ///     processed sessions. With nil, it has no processed session.
    /// - Returns: The caseload, or why the user is refused now.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func caseload(of principal: Principal, known: Set<UserID>?) async throws -> Caseload {
        try Self.caseload(
            from: await pool.query(
                """
                SELECT * FROM app.authorize_caseload(\(principal.user), \(principal.signIn), \(known.map(Array.init)))
                """))
    }

    /// Reads the rows of `app.authorize_caseload`.
    ///
    /// - Throws: ``StoreError`` if there is no row; ``PostgresError`` with code `decoding` if a column has another
    ///   type.
    private static func caseload(from rows: PostgresRows) throws -> Caseload {
        guard let first = rows.first else { throw StoreError.noRow }
        let patients = try first.decode("patient_ids", as: [UserID]?.self)
        var caseload = Caseload(
            refusal: try refusal(first), scope: patients.map { .patients(Set($0)) } ?? .everybody,
            position: FeedPosition(try DatabaseSnapshot(first)))
        guard caseload.refusal == nil else { return caseload }
        for row in rows.dropFirst() {
            // One unreadable session must not hide the others.
            guard let progress = try? SessionProgress(row) else { continue }
            caseload.sessions.append((try row.decode("patient_id", as: UserID.self), progress))
        }
        return caseload
    }

    /// Why a row refuses the caseload; nil if it grants it.
    ///
    /// - Throws: ``PostgresError`` with code `decoding` if a column has another type.
    private static func refusal(_ row: PostgresRow) throws -> SessionAuthorization.Verdict? {
        guard try row.decode("user_found", as: Bool.self), try row.decode("signed_in", as: Bool.self) else {
            return .notSignedIn
        }
        guard try row.decode("user_active", as: Bool.self) else { return .inactive }
        do {
            _ = try row.role("user_role")
            return nil
        } catch is UnreadableRow {
            return .unreadable
        }
    }

    /// Finds the sessions that a user can no longer see, deleted ones included.
    ///
    /// - Parameters:
    ///   - principal: The user and the user's sign-in.
    ///   - patients: The patients whose sessions the user can no longer see.
    ///   - sessions: Sessions that may have moved to another patient. Those of a patient outside `present` are lost
    ///     too.
    ///   - present: The patients whose sessions the user may see now.
    /// - Returns: The lost sessions.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func lostSessions(
        of principal: Principal, patients: Set<UserID>, among sessions: Set<SessionID>, present: Set<UserID>
    ) async throws -> [SessionID] {
        try await pool.query(
            """
            SELECT id FROM app.read_revoked(
                \(principal.user), \(Array(patients)), \(Array(sessions)), \(Array(present))) AS id
            """
        ).map { try $0.decode("id", as: SessionID.self) }
    }

    /// Deletes the records of deleted sessions that are so old that no stream can need them.
    ///
    /// - Parameter age: The age from which a record is old.
    /// - Returns: The number of deleted records.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func forgetDeletions(olderThan age: Duration) async throws -> Int {
        let rows = try await pool.query(
            "SELECT app.delete_expired_deletions(\(age)) AS total")
        return Int(try rows.first?.decode("total", as: Int64.self) ?? 0)
    }
}
