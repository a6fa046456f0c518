public import Domain
import Postgres

/// An earlier transcript or earlier notes, as the history keeps them.
public struct EarlierResult: Sendable, Equatable {
    /// Names one entry of the history, and says how long it is.
    public struct Key: Sendable, Equatable {
        /// The number of the entry; later ones have greater numbers.
        public var id: Int64
        /// The length of the content in bytes.
        public var bytes: Int64

        /// A key with its two parts.
        public init(id: Int64, bytes: Int64) {
            self.id = id
            self.bytes = bytes
        }
    }

    /// `transcript` or `notes`.
    public var kind: String
    /// When another result replaced it.
    public var replacedAt: Timestamp
    /// The account that replaced it; nil if no account did.
    public var replacedBy: UserID?
    /// The attempt that produced it.
    public var attempt: Int
    /// The document as JSON, in its stored form.
    public var content: String
}

extension SessionStore {
    /// The history of a session, newest first; empty if the user may read no such history.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func history(of session: SessionID, as principal: Principal) async throws -> [EarlierResult.Key] {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                "SELECT id, bytes FROM app.earlier_results(\(session))"
            ).map {
                EarlierResult.Key(
                    id: try $0.decode("id", as: Int64.self), bytes: try $0.decode("bytes", as: Int64.self))
            }
        }
    }

    /// Some entries of the history of a session, newest first, without those that the user may not read.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func history(
        _ keys: [EarlierResult.Key], of session: SessionID, as principal: Principal
    ) async throws -> [EarlierResult] {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                """
                SELECT kind, replaced_at, replaced_by, attempt, body::text AS content FROM app.result_history
                WHERE session_id = \(session) AND id = ANY (\(keys.map(\.id))) ORDER BY id DESC
                """
            ).map {
                EarlierResult(
                    kind: try $0.decode("kind", as: String.self),
                    replacedAt: try $0.decode("replaced_at", as: Timestamp.self),
                    replacedBy: try $0.decode("replaced_by", as: UserID?.self),
                    attempt: Int(try $0.decode("attempt", as: Int32.self)),
                    content: try $0.decode("content", as: String.self))
            }
        }
    }
}
