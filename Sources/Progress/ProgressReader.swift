public import Domain
public import Store

/// Reads from the database what the hub needs.
public protocol ProgressReader: Sendable {
    /// Reads those of many sessions that are newer than known; all of it is of one snapshot.
    func changes(of sessions: [SessionID], after versions: [Int64]) async throws -> ProgressChanges

    /// Reads user, sign-in, session, right and state for each request, all from one snapshot.
    func open(_ requests: [OpeningRequest]) async throws -> [SessionOpening]

    /// Finds those who may not watch any more.
    func lostRights(
        among requests: [(session: SessionID, principal: Principal)]
    ) async throws -> (lost: Set<Int>, rightsEpoch: Int64)

    /// Names what is committed at this moment: as long as the answer stays the same, nothing was.
    func snapshot() async throws -> String
}

extension ProgressStore: ProgressReader {}
