import Domain
import Store

/// A read that the hub wants, made outside of its thread.
enum HubWork: Sendable {
    case reading(HubStateMachine.Lane, Reading)
    case catchUp([CatchUpRequest])
    case sweep([CatchUpRequest])
    case openings([PendingOpening])
    case snapshot
}

/// Somebody who waits to be let in.
struct PendingOpening: Sendable {
    let request: OpeningRequest
    let watcher: WatcherID
    let continuation: CheckedContinuation<WatchOpening, any Error>
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
                await completed(pending, try await reader.open(pending.map(\.request)))
            case .snapshot:
                await completed(snapshot: try await reader.snapshot())
            }
        } catch {
            await failed(work, error)
        }
    }
}
