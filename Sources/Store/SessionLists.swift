public import Domain
import Postgres

// The lists of sessions: filters, order and counts.
extension SessionStore {
    /// The time by which a list is ordered, newest first; sessions of the same time are ordered by id.
    public enum Order: String, Sendable, CaseIterable {
        /// When the session was created.
        case createdAt = "created_at"
        /// When the session took place; if that is not known, when it was created.
        case sessionDate = "session_date"

        /// The time of a session in this order.
        public func time(of session: TherapySession) -> Timestamp {
            switch self {
            case .createdAt: session.createdAt
            case .sessionDate: session.sessionDate ?? session.createdAt
            }
        }
    }

    /// A position in a list of sessions, which only has a meaning in the order of that list.
    public struct Cursor: Sendable, Equatable, LosslessStringConvertible {
        /// The order of the list.
        public var order: Order
        /// The time and id of the last session before the position.
        public var position: ListCursor<SessionID>

        /// The position after a session.
        public init(after session: TherapySession, in order: Order) {
            self.order = order
            position = ListCursor(at: order.time(of: session), id: session.id)
        }

        /// Reads a cursor in the form of ``description``; nil for any other text.
        public init?(_ description: String) {
            let parts = description.split(separator: ".", omittingEmptySubsequences: false)
            guard parts.count == 2, let order = Order(rawValue: String(parts[0])),
                let position = ListCursor<SessionID>(String(parts[1]))
            else { return nil }
            self.order = order
            self.position = position
        }

        /// The order and the position, joined by a full stop.
        public var description: String { "\(order.rawValue).\(position)" }
    }

    /// Selects the sessions of a list; nil does not restrict.
    public struct Filter: Sendable {
        /// Only sessions with one of these statuses.
        public var statuses: Set<SessionStatus>?
        /// Only sessions of this patient.
        public var patient: UserID?
        /// Only sessions with this text in the patient's name or the file's name, regardless of case.
        ///
        /// An empty text does not restrict.
        public var text: String?
        /// Only sessions that took place at or after this time.
        ///
        /// If it is not known when a session took place, its creation counts.
        public var from: Timestamp?
        /// Only sessions that took place before this time.
        public var to: Timestamp?
        /// The order of the list.
        public var order: Order
        /// The page begins after this position; nil for the first page.
        public var after: ListCursor<SessionID>?
        /// The greatest number of sessions.
        public var limit: Int

        /// A filter that restricts only the number of sessions.
        public init(order: Order = .createdAt, limit: Int) {
            self.order = order
            self.limit = limit
        }
    }

    /// A page of a list.
    public struct ListedSessions: Sendable {
        /// The sessions, in the order of the list.
        public var sessions: [TherapySession]
        /// The number of sessions of each status that the filter selects on all pages, whatever its statuses are.
        ///
        /// Every status of the database is there, with 0 if no session has it. Nil on a later page.
        public var counts: [String: Int64]?
    }

    /// The sessions that a user may see, newest first.
    ///
    /// One statement reads everything: the counts fit the sessions.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` if one of the sessions has a
    ///   status that this release does not know.
    public func list(as principal: Principal, _ filter: Filter) async throws -> ListedSessions {
        let isFirst = filter.after == nil
        let rows = try await pool.acting(as: principal) { connection in
            // The function itself keeps to the patients that the user sees. Row-level security holds for the joined tables.
            // Rows of counts have no session.
            try await connection.query(
                """
                SELECT n.counted_status, n.counted_sessions, \(unescaped: Self.columns)
                FROM app.list_sessions(
                    \(filter.statuses.map { $0.map(\.rawValue) })::text[], \(filter.patient), \(filter.text),
                    \(filter.from), \(filter.to), \(filter.order == .sessionDate), \(filter.after?.at),
                    \(filter.after?.id), \(Int32(clamping: filter.limit)), \(isFirst)) n
                \(unescaped: Self.joins)
                WHERE n.counted_status IS NOT NULL OR t.id IS NOT NULL AND p.session_id IS NOT NULL
                ORDER BY n.place
                """)
        }
        var listed = ListedSessions(sessions: [], counts: isFirst ? [:] : nil)
        for row in rows {
            if let status = try row.decode("counted_status", as: String?.self) {
                listed.counts?[status] = try row.decode("counted_sessions", as: Int64.self)
            } else {
                listed.sessions.append(try TherapySession(row))
            }
        }
        return listed
    }

    /// Adds up the changes of the counts of all sessions, which keeps them quick to read.
    ///
    /// - Returns: The number of changes.
    /// - Throws: ``PostgresError`` if the database does not answer.
    @discardableResult
    public func foldCounts() async throws -> Int64 {
        try await pool.query("SELECT app.fold_session_counts() AS total")
            .first?.decode("total", as: Int64.self) ?? 0
    }
}
