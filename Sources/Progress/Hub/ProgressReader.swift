public import Domain
public import Store

/// The reads that the hub needs.
public protocol ProgressReader: Sendable {
    /// Reads those of many sessions that are newer than known, if they are of these patients (nil: of any), and the changes of
    /// rights since a snapshot, all in one database snapshot.
    func changes(
        of sessions: [SessionID], after versions: [Int64], ofPatients patients: Set<UserID>?,
        rightsSince snapshot: DatabaseSnapshot?
    ) async throws -> ProgressChanges

    /// Authorizes requests to see sessions, and writes an audit record for each.
    ///
    /// The rights and the states come from one database snapshot.
    func admit(_ requests: [AuthorizationRequest]) async throws -> [SessionAuthorization]

    /// Authorizes requests that were admitted before, without an audit record.
    func authorize(_ requests: [AuthorizationRequest]) async throws -> [SessionAuthorization]

    /// Finds the requests whose users have lost the right, by their indices.
    func lostRights(
        among requests: [(session: SessionID, principal: Principal)]
    ) async throws -> Set<Int>

    /// Reads the transitions of several sessions, each after a version, oldest first.
    func transitions(after versions: [(session: SessionID, version: Int64)]) async throws -> [[StatusTransition]]

    /// Authorizes a stream of all sessions, reads the caseload, and writes an audit record.
    func admitCaseload(
        of principal: Principal, resumes: Bool, requestID: RequestIdentifier?, network: ClientNetwork?
    ) async throws -> Caseload

    /// Reads the caseload of a user who was admitted before.
    func caseload(of principal: Principal, known: Set<UserID>?) async throws -> Caseload

    /// Finds the sessions that a user could see until an assignment ended, including those deleted since.
    func lostSessions(
        of principal: Principal, patients: Set<UserID>, among sessions: Set<SessionID>, present: Set<UserID>
    ) async throws -> [SessionID]

    /// Reads what was committed since a position, and the changes of rights since a snapshot.
    func feed(
        since position: FeedPosition, also sessions: [SessionID], rightsSince snapshot: DatabaseSnapshot?
    ) async throws -> FeedChanges

    /// Reads the transitions and deletions between two positions; nil if a client cannot resume from the earlier one.
    func missed(from earlier: FeedPosition, to later: FeedPosition, in scope: CaseloadScope) async throws
        -> MissedChanges?

    /// Reads the present snapshot, and the changes of rights since an earlier one.
    func rights(since snapshot: DatabaseSnapshot?) async throws -> RightsNews

    /// Reads the hints that were sent since a snapshot, and the changes of rights since another one.
    func hints(
        since snapshot: DatabaseSnapshot?, rightsSince rights: DatabaseSnapshot?
    ) async throws -> HintNews
}

extension ProgressStore: ProgressReader {}
