import Domain
import Store

/// A read that the hub wants, made outside of its thread.
enum HubWork: Sendable {
    case reading(HubStateMachine.Lane, Reading)
    case catchUp([CatchUpRequest])
    case sweep([CatchUpRequest])
    case openings([PendingOpening])
    case snapshot
    case feed(since: FeedPosition, sessions: [SessionID])
    case follower(FollowerRead)
    case following(PendingFollowing)
}

/// Somebody who waits to be let in.
struct PendingOpening: Sendable {
    let request: OpeningRequest
    let watcher: WatcherID
    let continuation: CheckedContinuation<WatchOpening, any Error>
}

/// Somebody who waits for a caseload.
struct PendingFollowing: Sendable {
    let principal: Principal
    let position: FeedPosition?
    let requestID: String?
    let watcher: WatcherID
    let continuation: CheckedContinuation<FollowOpening, any Error>
}

extension ProgressHub {
    /// Makes one read and gives its result to the hub.
    nonisolated func perform(_ work: HubWork) async {
        do {
            switch work {
            case .reading(let lane, let reading):
                await completed(lane, try await reader.changes(of: reading.sessions, after: reading.versions))
            case .catchUp(let requests):
                await completedCatchUp(
                    try await reader.open(
                        requests.map { OpeningRequest($0.session, for: $0.principal, after: $0.version) }))
            case .sweep(let requests):
                let (lost, epoch) = try await reader.lostRights(among: requests.map { ($0.session, $0.principal) })
                await completedSweep(lost: lost, epoch: epoch)
            case .openings(let pending):
                await completed(pending, try await reader.admit(pending.map(\.request)))
            case .snapshot:
                await completed(snapshot: try await reader.snapshot())
            case .feed(let position, let sessions):
                await completedFeed(try await reader.feed(since: position, also: sessions))
            case .follower(.caseload(let request)):
                await completedReopening(request, try await reopen(request))
            case .follower(.sessions(let request)):
                let versions = request.sessions.map { request.versions[$0] ?? 0 }
                await completedCatchUp(request, try await reader.changes(of: request.sessions, after: versions))
            case .following(let pending):
                let (caseload, missed) = try await readCaseload(for: pending)
                await completed(pending, caseload, missed)
            }
        } catch {
            await failed(work, error)
        }
    }

    private nonisolated func readCaseload(
        for pending: PendingFollowing
    ) async throws -> (Caseload, MissedChanges?) {
        let caseload = try await reader.admitCaseload(
            of: pending.principal, resumes: pending.position != nil, requestID: pending.requestID)
        guard caseload.refusal == nil, let position = pending.position else { return (caseload, nil) }
        // Between two snapshots lies the same whenever it is asked for.
        return (caseload, try await reader.missed(from: position, to: caseload.position, in: caseload.scope))
    }

    private nonisolated func reopen(_ request: FollowerRequest) async throws -> Reopening {
        let caseload = try await reader.caseload(of: request.principal, known: request.patients)
        var reopening = Reopening(caseload: caseload)
        guard caseload.refusal == nil else { return reopening }
        // History, which nobody changes: it may come from a later snapshot.
        let newer = Reopening.newer(in: caseload, for: request)
        if !newer.isEmpty {
            let transitions = try await reader.transitions(after: newer)
            reopening.transitions = Dictionary(uniqueKeysWithValues: zip(newer.map(\.session), transitions))
        }
        if case .patients(let present) = caseload.scope {
            let lost = request.patients?.subtracting(present) ?? []
            let unlisted = Set(request.versions.keys).union(request.sessions)
                .subtracting(caseload.sessions.map(\.progress.sessionID))
            if !lost.isEmpty || !unlisted.isEmpty {
                reopening.lost = try await reader.lostSessions(
                    of: request.principal, patients: lost, among: unlisted, present: present)
            }
        }
        return reopening
    }
}
