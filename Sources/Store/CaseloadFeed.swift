public import Domain
import Postgres

/// The changes that were committed since a position.
public struct FeedChanges: Sendable {
    /// A session that has changed.
    public struct Item: Sendable {
        /// The patient of the session.
        public var patient: UserID
        /// The present state of the session.
        public var progress: SessionProgress
        /// The transitions since the position, oldest first.
        public var transitions: [StatusTransition]
        /// The transaction that made the last of these transitions; nil without transitions.
        public var transaction: Int64?
    }

    /// The sessions that have changed.
    public var items: [Item] = []
    /// The deleted sessions and their patients.
    public var deleted: [(session: SessionID, patient: UserID)] = []
    /// The number of rows that this release cannot read.
    public var unreadable = 0
    /// The epoch of rights in the same snapshot.
    public var rightsEpoch: Int64
    /// The snapshot of this read, which is the next position.
    public var position: FeedPosition
}

/// The changes between two positions.
public struct MissedChanges: Sendable {
    /// The state after each transition, in the order of time.
    public var transitions: [SessionProgress]
    /// The deleted sessions.
    public var deleted: [SessionID]
}

extension ProgressStore {
    /// The greatest number of transitions that the server replays to a stream of all sessions.
    ///
    /// A client that has missed more starts again with its caseload.
    static let feedReplayLimit = 10_000

    /// Reads what was committed since a position: transitions and deletions of all sessions.
    ///
    /// - Parameters:
    ///   - position: The position.
    ///   - sessions: Sessions that are read in any case. A percentage leaves no transition by which the read could find
    ///     it.
    /// - Returns: The changes, with the present state of each changed session.
    /// - Throws: ``PostgresError`` if the database does not answer.
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

    /// Reads the transitions and deletions between two positions, for the sessions in a scope.
    ///
    /// - Returns: The changes, without the transitions that this release cannot read. Nil if the earlier position is
    ///   not from this database, or if there are more transitions than the server replays.
    /// - Throws: ``PostgresError`` if the database does not answer.
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
            // One unreadable transition must not hide the others.
            transitions: rows.compactMap { try? SessionProgress($0) },
            deleted: try deleted.map { try $0.decode("session_id", as: SessionID.self) })
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
