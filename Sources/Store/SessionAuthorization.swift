public import Domain
import Postgres

/// A user's request for a session.
public struct AuthorizationRequest: Sendable, Equatable {
    /// The user and the user's sign-in.
    public var principal: Principal
    /// The session.
    public var session: SessionID
    /// The answer also has the transitions after this version; nil for no transitions.
    public var after: Int64?
    /// The action for the audit log.
    public var action: AuditAction
    /// The right that the action needs; nil for none, which the database refuses to everybody.
    public var need: SessionAction?
    /// The `X-Request-Id` of the answer, for the audit log; nil without a request.
    public var requestID: RequestIdentifier?
    /// Where the request came from, for the audit log; nil if that is unknown.
    public var network: ClientNetwork?

    /// A request for a session.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - principal: The user and the user's sign-in.
    ///   - after: The answer also has the transitions after this version; nil for no transitions.
    ///   - action: An action.
    ///   - need: The right that it needs; nil for its ``AuditAction/need``. The database refuses an action without a need
    ///     to everybody.
    ///   - requestID: The `X-Request-Id` of the answer; nil without a request.
    ///   - network: Where the request came from; nil if that is unknown.
    public init(
        _ session: SessionID, for principal: Principal, after: Int64? = nil, action: AuditAction = .openStream,
        needing need: SessionAction? = nil, requestID: RequestIdentifier? = nil, network: ClientNetwork? = nil
    ) {
        self.session = session
        self.principal = principal
        self.after = after
        self.action = action
        self.need = need ?? action.need
        self.requestID = requestID
        self.network = network
    }

    /// The access as the audit log knows it.
    var access: AuditedAccess { AuditedAccess(action, by: principal, session: session, from: network) }
}

/// The database's answer to an ``AuthorizationRequest``: user, session, right and present state, from one snapshot.
public struct SessionAuthorization: Sendable {
    /// What the database found.
    public enum Verdict: Sendable, Equatable {
        /// The user no longer exists, or the sign-in has ended.
        case notSignedIn
        /// The account is inactive.
        case inactive
        /// The session does not exist.
        case noSession
        /// The user and the session exist. The access rule decides by role and relation.
        case found(role: Role, relation: Relation)
        /// This release does not know the user's role.
        case unreadable
    }

    /// What the database found.
    public var verdict: Verdict
    /// The present state; nil if the session was not found, if the user was refused, or if this release cannot read the
    /// state or one of the requested transitions.
    public var progress: SessionProgress?
    /// The requested transitions before that state, oldest first.
    ///
    /// Its own may be among them.
    public var transitions: [StatusTransition] = []
    /// False if the database refused the action, and recorded the refusal.
    public var isAllowed: Bool

    /// An answer with all its members.
    public init(
        verdict: Verdict, progress: SessionProgress?, transitions: [StatusTransition] = [], isAllowed: Bool = true
    ) {
        self.verdict = verdict
        self.progress = progress
        self.transitions = transitions
        self.isAllowed = isAllowed
    }

    /// Whether both the access rule in Swift and the database permit an action.
    public func permits(_ action: SessionAction) -> Bool {
        guard isAllowed, case .found(let role, let relation) = verdict else { return false }
        return Access.permits(action, to: role, as: relation)
    }
}

extension ProgressStore {
    /// The greatest number of transitions that the server replays; it replays the newest.
    ///
    /// The number of retries of a session, and therefore of its transitions, has no limit.
    static let replayLimit = 1000

    /// Authorizes a request and writes the audit record, in one statement.
    ///
    /// - Returns: User, session, right and present state.
    /// - Throws: ``PostgresError`` if the record was not written. The caller must then refuse the request.
    public func admit(_ request: AuthorizationRequest) async throws -> SessionAuthorization {
        guard let authorization = try await admit([request]).first else { throw StoreError.noRow }
        return authorization
    }

    /// Authorizes many requests and writes their audit records, in one statement.
    ///
    /// - Returns: An answer for each request, in the same order, all from one snapshot.
    /// - Throws: ``PostgresError`` if the records were not written. The caller must then refuse all requests.
    public func admit(_ requests: [AuthorizationRequest]) async throws -> [SessionAuthorization] {
        let plans = merger.plan(requests.lazy.map(\.access))
        let rows = try await pool.query(
            """
            SELECT * FROM app.admit(
                \(requests.map(\.principal.user)), \(requests.map(\.principal.signIn)), \(requests.map(\.session)),
                \(requests.map(\.action.rawValue)), \(requests.map { $0.need?.rawValue }),
                \(requests.map(\.requestID))::text[], \(requests.map(\.network)),
                \(plans.map(\.recordsAllowed)), \(plans.map(\.recordsRefused)))
            """)
        guard rows.count == requests.count else { throw StoreError.noRow }
        // The statement has committed: the records are written.
        var outcomes: [(AccessMerger.Plan, isAllowed: Bool)] = []
        for (plan, row) in zip(plans, rows) where try row.decode("is_logged", as: Bool.self) {
            outcomes.append((plan, try row.decode("is_allowed", as: Bool.self)))
        }
        merger.settle(outcomes)
        return try await authorizations(from: rows, for: requests)
    }

    /// Authorizes again the requests that were admitted before.
    ///
    /// It writes no audit records.
    ///
    /// - Returns: An answer for each request, in the same order, all from one snapshot.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func authorize(_ requests: [AuthorizationRequest]) async throws -> [SessionAuthorization] {
        let rows = try await pool.query(
            """
            SELECT o.*, true AS is_allowed FROM app.authorize_sessions(
                \(requests.map(\.principal.user)), \(requests.map(\.principal.signIn)), \(requests.map(\.session))) AS o
            ORDER BY ordinal
            """)
        return try await authorizations(from: rows, for: requests)
    }

    /// Reads the rows of `app.admit` or `app.authorize_sessions`, and the transitions that the requests ask for.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer; ``StoreError`` if a request has no row.
    private func authorizations(
        from rows: PostgresRows, for requests: [AuthorizationRequest]
    ) async throws -> [SessionAuthorization] {
        guard rows.count == requests.count else { throw StoreError.noRow }
        var authorizations = try rows.map(SessionAuthorization.init)
        let wanted = requests.indices.filter { index in
            guard let after = requests[index].after, let version = authorizations[index].progress?.version else {
                return false
            }
            // The state that follows is the transition of its own version, if it is one.
            // The client chooses `after`, which may be the greatest number.
            return after < version - 1
        }
        guard !wanted.isEmpty else { return authorizations }
        // Transitions never change, so they may come from a later snapshot.
        let histories = try await histories(after: wanted.map { (requests[$0].session, requests[$0].after ?? 0) })
        for (index, history) in zip(wanted, histories) {
            let version = authorizations[index].progress?.version ?? 0
            authorizations[index].transitions = history.transitions.filter { $0.version <= version }
            // The server never skips a transition. A client that would miss one comes back later.
            if !history.isComplete { authorizations[index].progress = nil }
        }
        return authorizations
    }

    /// Finds the watchers that have lost their right.
    ///
    /// - Returns: Their indices in the list.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func lostRights(
        among requests: [(session: SessionID, principal: Principal)]
    ) async throws -> Set<Int> {
        let rows = try await pool.query(
            """
            SELECT coalesce(array_agg(ordinal) FILTER (WHERE NOT may_see), '{}') AS lost
            FROM app.authorize_sessions(
                \(requests.map(\.principal.user)), \(requests.map(\.principal.signIn)), \(requests.map(\.session)))
            """)
        guard let row = rows.first else { throw StoreError.noRow }
        let lost = try row.decode("lost", as: [Int64].self)
        return Set(lost.map { Int($0) - 1 })
    }

    /// Reads the transitions of several sessions, each after a version, oldest first.
    ///
    /// - Returns: The transitions of each session, in the order of the list. Transitions that this release cannot read
    ///   are left out.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func transitions(
        after versions: [(session: SessionID, version: Int64)]
    ) async throws -> [[StatusTransition]] {
        try await histories(after: versions).map(\.transitions)
    }

    /// Reads the transitions of several sessions, and whether this release can read them all.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    private func histories(
        after versions: [(session: SessionID, version: Int64)]
    ) async throws -> [(transitions: [StatusTransition], isComplete: Bool)] {
        let rows = try await pool.query(
            """
            SELECT * FROM app.read_transitions(
                \(versions.map(\.session)), \(versions.map(\.version)), \(Int32(Self.replayLimit)))
            """)
        var found: [(transitions: [StatusTransition], isComplete: Bool)] = versions.map { _ in ([], true) }
        for row in rows {
            let index = Int(try row.decode("ordinal", as: Int64.self)) - 1
            do {
                found[index].transitions.append(try StatusTransition(row))
            } catch is UnreadableRow {
                found[index].isComplete = false
            }
        }
        return found
    }
}

extension SessionAuthorization {
    /// Reads a row of `app.admit` or `app.authorize_sessions`.
    ///
    /// - Throws: ``PostgresError`` with code `decoding` if a column has another type.
    fileprivate init(_ row: PostgresRow) throws {
        let verdict = try Self.verdict(row)
        guard case .found = verdict else {
            self.init(verdict: verdict, progress: nil)
            return
        }
        self.init(
            verdict: verdict,
            // The requests of one statement come from many clients. One unreadable state must not fail them all.
            progress: try? SessionProgress(row), isAllowed: try row.decode("is_allowed", as: Bool.self))
    }

    /// Reads what a row says about the user.
    ///
    /// - Throws: ``PostgresError`` with code `decoding` if a column has another type.
    private static func verdict(_ row: PostgresRow) throws -> Verdict {
        guard try row.decode("user_found", as: Bool.self), try row.decode("signed_in", as: Bool.self) else {
            return .notSignedIn
        }
        guard try row.decode("user_active", as: Bool.self) else { return .inactive }
        guard try row.decode("session_found", as: Bool.self) else { return .noSession }
        do {
            let relation = Relation(
                isPatient: try row.decode("is_patient", as: Bool.self),
                isAssigned: try row.decode("is_assigned", as: Bool.self))
            return .found(role: try row.role("user_role"), relation: relation)
        } catch is UnreadableRow {
            return .unreadable
        }
    }
}
