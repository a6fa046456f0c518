public import Domain
import Postgres

/// The changes of watched sessions, from one snapshot.
public struct ProgressChanges: Sendable {
    /// The sessions with a newer version, and their transitions since the known version, oldest first.
    public var changed: [(progress: SessionProgress, transitions: [StatusTransition])] = []
    /// The sessions that do not exist.
    public var missing: [SessionID] = []
    /// The sessions with a newer version whose patients are not among those that the read was for.
    public var moved: [SessionID] = []
    /// The sessions with a state or a transition that this release cannot read.
    public var unreadable: [SessionID] = []
    /// The changes of rights since an earlier read.
    public var rights: RightsNews
}

extension ProgressStore {
    /// Reads the sessions that have a newer version than the known one.
    ///
    /// - Parameters:
    ///   - sessions: The sessions, each at most once.
    ///   - versions: The known version of each session.
    ///   - patients: The patients whose sessions the read is for; nil for all patients.
    ///   - snapshot: The snapshot after which the read looks for changes of rights; nil for none.
    /// - Returns: The changes of the sessions and of rights, from one snapshot. Of a session that has moved to another
    ///   patient, they have no state.
    /// - Throws: ``PostgresError`` if the database does not answer, or is in recovery.
    public func changes(
        of sessions: [SessionID], after versions: [Int64], ofPatients patients: Set<UserID>?,
        rightsSince snapshot: DatabaseSnapshot?
    ) async throws -> ProgressChanges {
        let rows = try await pool.query(
            "SELECT * FROM app.read_changes(\(sessions), \(versions), \(snapshot?.text))")
        let (rights, rest) = try RightsNews.split(rows, since: snapshot)
        var changes = ProgressChanges(rights: rights)
        for row in rest {
            guard let session = try row.decode("asked", as: SessionID?.self) else { continue }
            guard try row.decode("session_id", as: SessionID?.self) != nil else {
                changes.missing.append(session)
                continue
            }
            if changes.unreadable.last == session || changes.moved.last == session { continue }
            if let patients, !patients.contains(try row.decode("patient_id", as: UserID.self)) {
                changes.moved.append(session)
                continue
            }
            do {
                try changes.add(row, of: session)
            } catch {
                // One unreadable session must not hide the others.
                changes.unreadable.append(session)
                if changes.changed.last?.progress.sessionID == session { changes.changed.removeLast() }
            }
        }
        return changes
    }
}

extension ProgressChanges {
    /// No changes of sessions.
    public init(rights: RightsNews) { self.init(changed: [], rights: rights) }

    /// Adds a row of `app.read_changes`: a session, a transition of it, or both.
    ///
    /// - Throws: ``UnreadableRow`` for a status that this release does not know; ``PostgresError`` with code `decoding`
    ///   if a column has another type.
    fileprivate mutating func add(_ row: PostgresRow, of session: SessionID) throws {
        if changed.last?.progress.sessionID != session { changed.append((try SessionProgress(row), [])) }
        if try row.decode("e_version", as: Int64?.self) != nil {
            changed[changed.count - 1].transitions.append(try StatusTransition(row, prefix: "e_"))
        }
    }
}
