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
    /// The changes of rights since an earlier read.
    public var rights: RightsNews

    /// The snapshot of this read, which is the next position.
    public var position: FeedPosition { FeedPosition(rights.snapshot) }
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
    ///   - snapshot: The snapshot after which the read looks for changes of rights; nil for none.
    /// - Returns: The changes, with the present state of each changed session.
    /// - Throws: ``PostgresError`` if the database does not answer, or is in recovery.
    public func feed(
        since position: FeedPosition, also sessions: [SessionID], rightsSince snapshot: DatabaseSnapshot?
    ) async throws -> FeedChanges {
        let rows = try await pool.query(
            "SELECT * FROM app.read_feed(\(position.snapshot.text), \(sessions), \(snapshot?.text))")
        let (rights, rest) = try RightsNews.split(rows, since: snapshot)
        var changes = FeedChanges(rights: rights)
        for row in rest {
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
    ///   from another timeline, or if there are more transitions than the server replays.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func missed(
        from earlier: FeedPosition, to later: FeedPosition, in scope: CaseloadScope
    ) async throws -> MissedChanges? {
        let limit = Self.feedReplayLimit
        var patients: [UserID]?
        if case .patients(let set) = scope { patients = Array(set) }
        // Any client can send any position.
        guard earlier.snapshot.timeline == later.snapshot.timeline, !later.snapshot.precedes(earlier.snapshot) else {
            return nil
        }
        let (from, to) = (earlier.snapshot.text, later.snapshot.text)
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
    /// No changes of sessions.
    public init(rights: RightsNews) { self.init(items: [], rights: rights) }

    /// Adds a row of `app.read_feed`: a session, a transition of it, or both.
    ///
    /// - Throws: ``UnreadableRow`` for a status that this release does not know; ``PostgresError`` with code `decoding`
    ///   if a column has another type.
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
