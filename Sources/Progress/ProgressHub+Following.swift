import DequeModule
public import Domain
import Logging
public import Store

/// What came of wanting to follow a caseload.
public enum FollowOpening: Sendable {
    /// These are the events to begin with, with the position before them (the client's) and after.
    case opened(Watch, [CaseloadEvent], before: FeedPosition?, after: FeedPosition)
    /// The user may follow nothing, for the reason given.
    case refused(SessionOpening.Verdict)
    /// It may not begin now.
    case turnedAway(TurningAway)
}

extension ProgressHub {
    /// So many caseloads are read at a time.
    static let followingReads = 2

    /// Begins to follow all the sessions that a user may see.
    ///
    /// - Parameters:
    ///   - position: Where the client left off: what was committed since is told first.
    ///   - requestID: The request behind it, for the audit log.
    /// - Throws: `PostgresError` when the database cannot say.
    public func follow(
        for principal: Principal, since position: FeedPosition?, requestID: String? = nil
    ) async throws -> FollowOpening {
        guard !isClosed, followings.count < Self.openingLimit else {
            metrics.turnedAway()
            return .turnedAway(turningAway)
        }
        // Registered before the caseload is read: what changes between is collected.
        let watcher = machine.follow(for: principal)
        return try await withCheckedThrowingContinuation { continuation in
            followings.append(
                PendingFollowing(
                    principal: principal, position: position, requestID: requestID, watcher: watcher,
                    continuation: continuation))
            pumpFollowings()
        }
    }

    private func pumpFollowings() {
        while followingsUnderWay < Self.followingReads, let next = followings.popFirst() {
            machine.readsCaseload(of: next.watcher)
            guard case .terminated = work.continuation.yield(.following(next)) else {
                followingsUnderWay += 1
                continue
            }
            // The hub stops, and nobody makes reads any more.
            turnAway(next)
        }
    }

    func completed(_ pending: PendingFollowing, _ caseload: Caseload, _ missed: MissedChanges?) {
        followingsUnderWay -= 1
        defer {
            pumpFollowings()
            pump()
        }
        if let refusal = caseload.refusal {
            machine.release(pending.watcher)
            return pending.continuation.resume(returning: .refused(refusal))
        }
        if !isClosed, machine.isTooEarly(pending.watcher) { return followings.prepend(pending) }
        guard !isClosed, let (present, pauses) = machine.begin(pending.watcher, with: caseload) else {
            return turnAway(pending)
        }
        readAfterPause(pauses)
        let events = (missed?.events(before: caseload) ?? []) + present
        pending.continuation.resume(
            returning: .opened(
                Watch(watcher: pending.watcher, hub: self), events, before: missed == nil ? nil : pending.position,
                after: caseload.position))
    }

    func turnAway(_ pending: PendingFollowing) {
        metrics.turnedAway()
        machine.release(pending.watcher)
        pending.continuation.resume(returning: .turnedAway(turningAway))
    }

    func failed(_ pending: PendingFollowing, _ error: any Error) {
        followingsUnderWay -= 1
        defer { pumpFollowings() }
        // A read that the end of the hub has cut short is no fault of the database.
        if Task.isCancelled { return turnAway(pending) }
        machine.release(pending.watcher)
        pending.continuation.resume(throwing: error)
    }

    // MARK: - What reads bring

    func completedFeed(_ changes: FeedChanges) {
        succeeded()
        if changes.unreadable > 0 {
            logger.error("rows of progress cannot be read", metadata: ["rows": "\(changes.unreadable)"])
        }
        let outcome = machine.completedFeed(changes)
        send(outcome.deliveries)
        readAfterPause(outcome.pauses)
        pump()
    }

    func completedReopening(_ request: FollowerRequest, _ answer: Reopening) {
        succeeded()
        send(machine.completedReopening(request, answer))
        pump()
    }

    func completedCatchUp(_ request: FollowerRequest, _ changes: ProgressChanges) {
        succeeded()
        send(machine.completedCatchUp(request, changes))
        pump()
    }
}
