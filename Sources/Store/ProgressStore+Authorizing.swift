public import Domain
import Postgres

/// Somebody who wants to see a session.
public struct AuthorizationRequest: Sendable, Equatable {
    /// The user, and the sign-in that the request stands under.
    public var principal: Principal
    /// The session.
    public var session: SessionID
    /// Also the transitions after this version; nil for none.
    public var after: Int64?
    /// What is recorded in the audit log.
    public var action: AuditAction
    /// The `X-Request-Id` of the answer, for the audit log; nil when no request is behind it.
    public var requestID: String?

    /// A request to see a session.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - principal: The user, and the user's sign-in.
    ///   - after: The version after which the transitions are wanted; nil for none.
    ///   - action: One that has an ``AuditAction/need``: without, nobody is let in.
    ///   - requestID: The `X-Request-Id` of the answer; nil when no request is behind it.
    public init(
        _ session: SessionID, for principal: Principal, after: Int64? = nil, action: AuditAction = .openStream,
        requestID: String? = nil
    ) {
        self.session = session
        self.principal = principal
        self.after = after
        self.action = action
        self.requestID = requestID
    }
}

/// What the database says to an ``AuthorizationRequest``: user, session, right and present state, from one snapshot.
public struct SessionAuthorization: Sendable {
    /// Why the user is not let in, or that the user is.
    public enum Verdict: Sendable, Equatable {
        /// The user no longer exists, or the sign-in behind the token has ended.
        case notSignedIn
        /// The account is inactive.
        case inactive
        /// There is no such session.
        case noSession
        /// The session is there; whether an action is permitted depends on role and relation.
        case found(role: Role, relation: Relation)
    }

    /// Whether the user is let in, or why not.
    public var verdict: Verdict
    /// The state as it stands; nil unless the session was found, and where this release cannot read it.
    public var progress: SessionProgress?
    /// The transitions that were asked for, up to that state, oldest first.
    public var transitions: [StatusTransition] = []
    /// The epoch of rights in the same snapshot: as long as it stays, so does the verdict.
    public var rightsEpoch: Int64
    /// False when the database refuses what was asked for, and has recorded that.
    public var isAllowed: Bool

    /// An answer with all that the database says.
    public init(
        verdict: Verdict, progress: SessionProgress?, transitions: [StatusTransition] = [], rightsEpoch: Int64,
        isAllowed: Bool = true
    ) {
        self.verdict = verdict
        self.progress = progress
        self.transitions = transitions
        self.rightsEpoch = rightsEpoch
        self.isAllowed = isAllowed
    }

    /// Whether an action is permitted, by the rule and by the database.
    public func permits(_ action: SessionAction) -> Bool {
        guard isAllowed, case .found(let role, let relation) = verdict else { return false }
        return Access.permits(action, to: role, as: relation)
    }
}

extension ProgressStore {
    /// At most so many transitions are replayed, the newest: a session that is retried without end has no end of them.
    static let replayLimit = 1000

    /// Asks for user, session, right and present state, and records in the audit log what is done with the session, or is
    /// refused; all in one statement.
    ///
    /// - Throws: ``PostgresError`` when it cannot be recorded, and so the user is not let in.
    public func admit(_ request: AuthorizationRequest) async throws -> SessionAuthorization {
        guard let opening = try await admit([request]).first else { throw StoreError.noRow }
        return opening
    }

    /// Asks and records the same for many at once.
    ///
    /// - Returns: An answer for each request, in order, all from one snapshot.
    /// - Throws: `PostgresError` when it cannot be recorded, and so nobody is let in.
    public func admit(_ requests: [AuthorizationRequest]) async throws -> [SessionAuthorization] {
        let rows = try await pool.query(
            """
            SELECT * FROM app.admit(
                \(requests.map(\.principal.user)), \(requests.map(\.principal.signIn)), \(requests.map(\.session)),
                \(requests.map(\.action.rawValue)), \(requests.map { $0.action.need?.rawValue }),
                \(requests.map(\.requestID)))
            """)
        return try await openings(of: rows, to: requests)
    }

    /// Asks for user, session, right and present state of those who have been let in.
    ///
    /// - Returns: An answer for each request, in order, all from one snapshot.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func authorize(_ requests: [AuthorizationRequest]) async throws -> [SessionAuthorization] {
        let rows = try await pool.query(
            """
            SELECT o.*, true AS is_allowed FROM app.authorize_sessions(
                \(requests.map(\.principal.user)), \(requests.map(\.principal.signIn)), \(requests.map(\.session))) AS o
            ORDER BY ordinal
            """)
        return try await openings(of: rows, to: requests)
    }

    private func openings(
        of rows: PostgresRows, to requests: [AuthorizationRequest]
    ) async throws -> [SessionAuthorization] {
        guard rows.count == requests.count else { throw StoreError.noRow }
        var openings = try rows.map(SessionAuthorization.init)
        // What is asked for is history, which nobody changes: it may come from a later snapshot.
        let wanted = requests.indices.filter { index in
            guard let after = requests[index].after, let version = openings[index].progress?.version else {
                return false
            }
            return after < version
        }
        guard !wanted.isEmpty else { return openings }
        let transitions = try await transitions(after: wanted.map { (requests[$0].session, requests[$0].after ?? 0) })
        for (index, found) in zip(wanted, transitions) {
            let version = openings[index].progress?.version ?? 0
            openings[index].transitions = found.filter { $0.version <= version }
        }
        return openings
    }

    /// Of those who watch, those who may not any more.
    ///
    /// - Returns: Their positions in the list, and the epoch of rights in the same snapshot.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func lostRights(
        among requests: [(session: SessionID, principal: Principal)]
    ) async throws -> (lost: Set<Int>, rightsEpoch: Int64) {
        let rows = try await pool.query(
            """
            SELECT max(rights_epoch) AS rights_epoch,
                   coalesce(array_agg(ordinal) FILTER (WHERE NOT may_see), '{}') AS lost
            FROM app.authorize_sessions(
                \(requests.map(\.principal.user)), \(requests.map(\.principal.signIn)), \(requests.map(\.session)))
            """)
        guard let row = rows.first else { throw StoreError.noRow }
        let lost = try row.decode("lost", as: [Int64].self)
        return (Set(lost.map { Int($0) - 1 }), try row.decode("rights_epoch", as: Int64.self))
    }

    /// The transitions of several sessions after a version each, oldest first.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func transitions(
        after versions: [(session: SessionID, version: Int64)]
    ) async throws -> [[StatusTransition]] {
        let rows = try await pool.query(
            """
            SELECT * FROM app.read_transitions(
                \(versions.map(\.session)), \(versions.map(\.version)), \(Int32(Self.replayLimit)))
            """)
        var found = [[StatusTransition]](repeating: [], count: versions.count)
        for row in rows {
            found[Int(try row.decode("ordinal", as: Int64.self)) - 1].append(try StatusTransition(row))
        }
        return found
    }
}

extension SessionAuthorization {
    fileprivate init(_ row: PostgresRow) throws {
        let epoch = try row.decode("rights_epoch", as: Int64.self)
        guard try row.decode("user_found", as: Bool.self), try row.decode("signed_in", as: Bool.self) else {
            self.init(verdict: .notSignedIn, progress: nil, rightsEpoch: epoch)
            return
        }
        guard try row.decode("user_active", as: Bool.self) else {
            self.init(verdict: .inactive, progress: nil, rightsEpoch: epoch)
            return
        }
        guard try row.decode("session_found", as: Bool.self) else {
            self.init(verdict: .noSession, progress: nil, rightsEpoch: epoch)
            return
        }
        let relation = Relation(
            isPatient: try row.decode("is_patient", as: Bool.self),
            isAssigned: try row.decode("is_assigned", as: Bool.self))
        self.init(
            verdict: .found(role: try row.decode("user_role", as: Role.self), relation: relation),
            // A status of a newer release must not fail all who asked together.
            progress: try? SessionProgress(row), rightsEpoch: epoch,
            isAllowed: try row.decode("is_allowed", as: Bool.self))
    }
}
