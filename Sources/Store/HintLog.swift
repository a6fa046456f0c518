public import Domain
import Postgres

/// The hints that were sent since the snapshot of an earlier read.
public struct HintNews: Sendable, Equatable {
    /// The changes of rights, and the snapshot of this read.
    public var rights: RightsNews
    /// The newest version of each session that has changed, or 0 if the session was deleted; nil if the read cannot name
    /// all of them.
    public var versions: [SessionID: Int64]?

    /// News with the hints that are known.
    public init(rights: RightsNews, versions: [SessionID: Int64]?) {
        self.rights = rights
        self.versions = versions
    }
}

extension [SessionID: Int64] {
    /// Adds a hint to the newest version of each session.
    ///
    /// Nothing follows a deletion.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - version: The version that it may have reached; 0 if it may be deleted.
    public mutating func merge(hintOf session: SessionID, _ version: Int64) {
        let known = self[session]
        self[session] = version == 0 || known == 0 ? 0 : Swift.max(version, known ?? 0)
    }
}

extension ProgressStore {
    /// The greatest number of hints that one read looks at.
    static let hintLimit = 20_000

    /// Reads the hints that were sent, whether they arrived or not.
    ///
    /// - Parameters:
    ///   - snapshot: The snapshot of the last such read; nil for none.
    ///   - rights: The snapshot after which the read looks for changes of rights; nil for none.
    /// - Returns: The hints since then. They are unknown without an earlier snapshot, if there are too many, or if some
    ///   may have been removed.
    /// - Throws: ``PostgresError`` if the database does not answer, or is in recovery.
    public func hints(
        since snapshot: DatabaseSnapshot?, rightsSince rights: DatabaseSnapshot?
    ) async throws -> HintNews {
        let rows = try await pool.query(
            "SELECT * FROM app.read_hints(\(snapshot?.text), \(rights?.text), \(Int32(Self.hintLimit)))")
        let (news, rest) = try RightsNews.split(rows, since: rights)
        guard let snapshot, news.isComplete(since: snapshot), rest.count < Self.hintLimit else {
            return HintNews(rights: news, versions: nil)
        }
        var versions: [SessionID: Int64] = [:]
        for row in rest {
            versions.merge(
                hintOf: try row.decode("session_id", as: SessionID.self), try row.decode("version", as: Int64.self))
        }
        return HintNews(rights: news, versions: versions)
    }

    /// Deletes the changes of rights and the hints that are so old that no reader can need them.
    ///
    /// - Parameter age: The age from which a row is old.
    /// - Returns: The number of deleted rows.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func deleteExpiredLogs(olderThan age: Duration) async throws -> Int {
        let rows = try await pool.query("SELECT app.delete_expired_logs(\(age)) AS total")
        return Int(try rows.first?.decode("total", as: Int64.self) ?? 0)
    }
}
