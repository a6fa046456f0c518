public import Domain
import Postgres

/// The changes of watched sessions, from one snapshot.
public struct ProgressChanges: Sendable {
    /// The sessions with a newer version, and their transitions since the known version, oldest first.
    public var changed: [(progress: SessionProgress, transitions: [StatusTransition])] = []
    /// The sessions that do not exist.
    public var missing: [SessionID] = []
    /// The sessions with a state or a transition that this release cannot read.
    public var unreadable: [SessionID] = []
    /// The epoch of rights.
    public var rightsEpoch: Int64 = 0
}

extension ProgressStore {
    /// Reads the sessions that have a newer version than the known one.
    ///
    /// - Parameters:
    ///   - sessions: The sessions, each at most once. An empty list reads only the epoch of rights.
    ///   - versions: The known version of each session.
    /// - Returns: The changes and the epoch of rights, from one snapshot. ``ProgressChanges/unreadable`` names the
    ///   sessions that this release cannot read.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func changes(of sessions: [SessionID], after versions: [Int64]) async throws -> ProgressChanges {
        let rows = try await pool.query("SELECT * FROM app.read_changes(\(sessions), \(versions))")
        var changes = ProgressChanges()
        for row in rows {
            changes.rightsEpoch = try row.decode("rights_epoch", as: Int64.self)
            guard let session = try row.decode("asked", as: SessionID?.self) else { continue }
            guard try row.decode("session_id", as: SessionID?.self) != nil else {
                changes.missing.append(session)
                continue
            }
            if changes.unreadable.last == session { continue }
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

    /// Describes what is committed at this moment.
    ///
    /// While the text stays the same, nothing was committed.
    ///
    /// A transaction that writes has an id. After its commit, the id is no longer among those in progress, or the next
    /// free id has passed it. Either changes the text (manual, 9.27.8, `pg_current_snapshot`).
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func databaseSnapshot() async throws -> String {
        let rows = try await pool.query("SELECT pg_current_snapshot()::text AS snapshot")
        guard let row = rows.first else { throw StoreError.noRow }
        return try row.decode("snapshot", as: String.self)
    }
}

extension ProgressChanges {
    fileprivate mutating func add(_ row: PostgresRow, of session: SessionID) throws {
        if changed.last?.progress.sessionID != session { changed.append((try SessionProgress(row), [])) }
        if try row.decode("e_version", as: Int64?.self) != nil {
            changed[changed.count - 1].transitions.append(try StatusTransition(row, prefix: "e_"))
        }
    }
}
