public import Domain
import Postgres

/// Whose sessions somebody may see.
public enum CaseloadScope: Sendable, Equatable {
    /// The sessions of every patient.
    case everybody
    /// The sessions of these patients.
    case patients(Set<UserID>)

    /// True if the sessions of a patient are in the scope.
    public func contains(_ patient: UserID) -> Bool {
        switch self {
        case .everybody: true
        case .patients(let patients): patients.contains(patient)
        }
    }
}

/// A user's caseload, from one snapshot: the right to it, and the sessions that are not done.
public struct Caseload: Sendable {
    /// Why the user is not let in; nil when the user is.
    public var refusal: SessionAuthorization.Verdict?
    /// The patients whose sessions the user may see.
    public var scope: CaseloadScope
    /// The oldest first.
    public var sessions: [(patient: UserID, progress: SessionProgress)] = []
    /// The epoch of rights in the same snapshot.
    public var rightsEpoch: Int64
    /// The snapshot.
    public var position: FeedPosition
}

/// What was committed between two positions, or since one.
public struct FeedChanges: Sendable {
    /// A session that has changed.
    public struct Item: Sendable {
        /// The patient of the session.
        public var patient: UserID
        /// The state of the session.
        public var progress: SessionProgress
        /// The transitions since, oldest first.
        public var transitions: [StatusTransition]
        /// The transaction that made the last of them; nil when there are none.
        public var transaction: Int64?
    }

    /// The sessions that have changed.
    public var items: [Item] = []
    /// The sessions that were deleted, each with its patient.
    public var deleted: [(session: SessionID, patient: UserID)] = []
    /// How many changed sessions have rows that this release cannot read.
    public var unreadable = 0
    /// The epoch of rights in the same snapshot.
    public var rightsEpoch: Int64
    /// The snapshot up to which the changes go.
    public var position: FeedPosition
}

/// What lies between two positions.
public struct MissedChanges: Sendable {
    /// The transitions, as the states that they led to, in the order of their times.
    public var transitions: [SessionProgress]
    /// The sessions that were deleted.
    public var deleted: [SessionID]
}

extension ProgressStore {
    /// So many transitions are replayed to a stream of all sessions; a client that was away for longer begins anew.
    static let feedReplayLimit = 10_000

    /// Reads the caseload of a user who begins to follow it, without what is done, and records that in the audit log;
    /// all in one statement.
    ///
    /// - Parameters:
    ///   - principal: The user, and the user's sign-in.
    ///   - resumes: True if the user goes on from a position.
    ///   - requestID: The `X-Request-Id` of the answer, for the audit log.
    /// - Returns: The caseload, or why the user is not let in.
    /// - Throws: ``PostgresError`` when it cannot be recorded, and so the user is not let in.
    public func admitCaseload(of principal: Principal, resumes: Bool, requestID: String?) async throws -> Caseload {
        let action = resumes ? AuditAction.resumeCaseload : .openCaseload
        return try Self.caseload(
            of: await pool.query(
                """
                SELECT * FROM app.admit_caseload(
                    \(principal.user), \(principal.signIn), \(action.rawValue), \(requestID))
                """))
    }

    /// Reads the caseload of a user who follows it.
    ///
    /// - Parameters:
    ///   - principal: The user, and the user's sign-in.
    ///   - known: The patients whose sessions the user has seen; of others also those that are done are read. Nil
    ///     leaves out whatever is done.
    /// - Returns: The caseload, or why the user is no longer let in.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func caseload(of principal: Principal, known: Set<UserID>?) async throws -> Caseload {
        try Self.caseload(
            of: await pool.query(
                """
                SELECT * FROM app.authorize_caseload(\(principal.user), \(principal.signIn), \(known.map(Array.init)))
                """))
    }

    private static func caseload(of rows: PostgresRows) throws -> Caseload {
        guard let first = rows.first else { throw StoreError.noRow }
        let patients = try first.decode("patient_ids", as: [UserID]?.self)
        var caseload = Caseload(
            scope: patients.map { .patients(Set($0)) } ?? .everybody,
            rightsEpoch: try first.decode("rights_epoch", as: Int64.self),
            position: FeedPosition(snapshot: try first.decode("snapshot", as: String.self)))
        guard try first.decode("user_found", as: Bool.self), try first.decode("signed_in", as: Bool.self) else {
            caseload.refusal = .notSignedIn
            return caseload
        }
        guard try first.decode("user_active", as: Bool.self) else {
            caseload.refusal = .inactive
            return caseload
        }
        for row in rows.dropFirst() {
            // A row of a newer release, with a status that this one does not know, must not silence the others.
            guard let progress = try? SessionProgress(row) else { continue }
            caseload.sessions.append((try row.decode("patient_id", as: UserID.self), progress))
        }
        return caseload
    }

    /// Reads what was committed since a position: every session with transitions since, those named, and deletions.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func feed(since position: FeedPosition, also sessions: [SessionID]) async throws -> FeedChanges {
        let rows = try await pool.query("SELECT * FROM app.read_feed(\(position.snapshot), \(sessions))")
        guard let first = rows.first else { throw StoreError.noRow }
        var changes = FeedChanges(
            rightsEpoch: try first.decode("rights_epoch", as: Int64.self),
            position: FeedPosition(snapshot: try first.decode("snapshot", as: String.self)))
        for row in rows {
            guard let session = try row.decode("asked", as: SessionID?.self) else { continue }
            if let patient = try row.decode("deleted_patient", as: UserID?.self) {
                changes.deleted.append((session, patient))
            } else if try row.decode("session_id", as: SessionID?.self) != nil {
                do {
                    try changes.add(row, of: session)
                } catch {
                    changes.unreadable += 1
                }
            }
        }
        return changes
    }

    /// Reads the transitions and deletions between two positions, of the sessions in a scope.
    ///
    /// - Returns: Nil when the earlier one is none of this database's, or more lies between than is replayed.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func missed(
        from earlier: FeedPosition, to later: FeedPosition, in scope: CaseloadScope
    ) async throws -> MissedChanges? {
        let limit = Self.feedReplayLimit
        var patients: [UserID]?
        if case .patients(let set) = scope { patients = Array(set) }
        let (from, to) = (earlier.snapshot, later.snapshot)
        let isOurs = try await pool.query(
            "SELECT pg_snapshot_xmax(\(from)::pg_snapshot) <= pg_snapshot_xmax(\(to)::pg_snapshot) AS is_ours"
        ).first?.decode("is_ours", as: Bool.self)
        guard isOurs == true else { return nil }
        let rows = try await pool.query(
            "SELECT * FROM app.read_missed(\(from), \(to), \(patients), \(Int32(limit + 1)))")
        guard rows.count <= limit else { return nil }
        let deleted = try await pool.query(
            "SELECT session_id FROM app.read_missed_deletions(\(from), \(to), \(patients)) AS session_id")
        return MissedChanges(
            transitions: try rows.map(SessionProgress.init),
            deleted: try deleted.map { try $0.decode("session_id", as: SessionID.self) })
    }

    /// Reads the sessions that a user could see until their patients were taken away, with those deleted since.
    ///
    /// - Parameters:
    ///   - principal: The user, and the user's sign-in.
    ///   - patients: The patients who were taken away.
    ///   - sessions: These are lost, too, when they are of nobody whose sessions the user may see: somebody has
    ///     corrected whose they are.
    ///   - present: The patients whose sessions the user may see.
    /// - Returns: The sessions.
    /// - Throws: ``PostgresError`` when the database cannot answer.
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

    /// Forgets deletions that no stream can ask for any more.
    ///
    /// - Returns: How many.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func forgetDeletions(olderThan age: Duration) async throws -> Int {
        let rows = try await pool.query(
            "SELECT app.delete_expired_deletions(\(age)) AS total")
        return Int(try rows.first?.decode("total", as: Int64.self) ?? 0)
    }
}

extension FeedChanges {
    fileprivate mutating func add(_ row: PostgresRow, of session: SessionID) throws {
        if items.last?.progress.sessionID != session {
            items.append(
                Item(
                    patient: try row.decode("patient_id", as: UserID.self), progress: try SessionProgress(row),
                    transitions: []))
        }
        if try row.decode("e_version", as: Int64?.self) != nil {
            items[items.count - 1].transitions.append(try StatusTransition(row, prefix: "e_"))
            items[items.count - 1].transaction = try row.decode("e_transaction", as: Int64.self)
        }
    }
}
