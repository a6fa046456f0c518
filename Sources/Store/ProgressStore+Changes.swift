public import Domain
import Postgres

/// What watched sessions have come to, from one snapshot.
public struct ProgressChanges: Sendable {
    /// The sessions that are newer than known, each with the transitions since, oldest first.
    public var changed: [(progress: SessionProgress, transitions: [StatusTransition])] = []
    /// Those that do not exist.
    public var missing: [SessionID] = []
    /// Those whose rows cannot be read, as when a newer release has added a status.
    public var unreadable: [SessionID] = []
    /// The epoch of rights.
    public var rightsEpoch: Int64 = 0
}

extension ProgressStore {
    /// Reads those of many sessions that are newer than known.
    ///
    /// - Parameters:
    ///   - sessions: Each at most once; none asks for the epoch alone.
    ///   - versions: The version that each is known at.
    /// - Returns: The changes, and the epoch of rights, from one snapshot.
    /// - Throws: ``PostgresError`` when the database cannot answer. A row that cannot be read does not count:
    ///   ``ProgressChanges/unreadable`` names its session.
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
                // One row of a newer release must not silence all the others.
                changes.unreadable.append(session)
                if changes.changed.last?.progress.sessionID == session { changes.changed.removeLast() }
            }
        }
        return changes
    }

    /// Names what is committed at this moment: as long as the answer stays the same, nothing was.
    ///
    /// A transaction that writes has an id. Once it is committed it is no longer among those in progress, or the next id to
    /// come has gone past it; each changes the text (manual, 9.27.8, `pg_current_snapshot`).
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func snapshot() async throws -> String {
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
