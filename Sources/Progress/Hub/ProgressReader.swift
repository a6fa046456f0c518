public import Domain
public import Store

/// Reads from the database what the hub needs.
public protocol ProgressReader: Sendable {
    /// Reads those of many sessions that are newer than known; all of it is of one snapshot.
    func changes(of sessions: [SessionID], after versions: [Int64]) async throws -> ProgressChanges

    /// Lets in those who want to see a session: reads user, sign-in, session, right and state for each request, all from one
    /// snapshot, and records who is let in and who is not.
    func admit(_ requests: [AuthorizationRequest]) async throws -> [SessionAuthorization]

    /// Reads the same for those who have been let in.
    func authorize(_ requests: [AuthorizationRequest]) async throws -> [SessionAuthorization]

    /// Finds those who may not watch any more.
    func lostRights(
        among requests: [(session: SessionID, principal: Principal)]
    ) async throws -> (lost: Set<Int>, rightsEpoch: Int64)

    /// Reads the transitions of several sessions after a version each, oldest first.
    func transitions(after versions: [(session: SessionID, version: Int64)]) async throws -> [[StatusTransition]]

    /// Lets somebody in who wants to follow a caseload: reads it, and records that.
    func admitCaseload(of principal: Principal, resumes: Bool, requestID: String?) async throws -> Caseload

    /// Reads the caseload of a user who follows it.
    func caseload(of principal: Principal, known: Set<UserID>?) async throws -> Caseload

    /// Reads the sessions that a user could see until their patients were taken away, with those deleted since.
    func lostSessions(
        of principal: Principal, patients: Set<UserID>, among sessions: Set<SessionID>, present: Set<UserID>
    ) async throws -> [SessionID]

    /// Reads what was committed since a position.
    func feed(since position: FeedPosition, also sessions: [SessionID]) async throws -> FeedChanges

    /// Reads the transitions and deletions between two positions; nil when the earlier one cannot be gone on from.
    func missed(from earlier: FeedPosition, to later: FeedPosition, in scope: CaseloadScope) async throws
        -> MissedChanges?

    /// Names what is committed at this moment: as long as the answer stays the same, nothing was.
    func snapshot() async throws -> String
}

extension ProgressStore: ProgressReader {}
