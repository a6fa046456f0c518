import DequeModule
import Domain
import Store

/// A read for one follower.
enum FollowerRead: Sendable {
    /// The caseload again: rights may have changed.
    case caseload(FollowerRequest)
    /// The sessions that have changed while there was no room.
    case sessions(FollowerRequest)
}

extension HubStateMachine {
    /// How many followers are read for at a time.
    static let followerReads = 2

    /// The next read for a follower; nil while enough are under way or when nobody waits.
    mutating func nextFollowerRead() -> FollowerRead? {
        guard followerReadsUnderWay < Self.followerReads else { return nil }
        while let id = followerQueue.popFirst() {
            guard let place = place(of: id), watchers[place].phase == .begun, watchers[place].isAttached,
                let principal = watchers[place].principal, let follower = followers[place], !follower.isReopening,
                follower.catchingUp == nil
            else { continue }
            var request = FollowerRequest(
                watcher: id, principal: principal, versions: follower.given.mapValues(\.version))
            if case .patients(let patients) = follower.scope { request.patients = patients }
            if follower.needsReopening {
                followers[place]?.needsReopening = false
                followers[place]?.isReopening = true
                // The snapshot to come is newer than all of that, but does not list what is done.
                request.sessions = Array(follower.behind.keys)
                followers[place]?.catchingUp = follower.behind
                followers[place]?.behind = [:]
                followerReadsUnderWay += 1
                return .caseload(request)
            }
            guard follower.isBehind, watchers[place].isReady else { continue }
            let read = Dictionary(uniqueKeysWithValues: follower.behind.lazy.map { ($0, $1) }.prefix(readLimit))
            request.sessions = Array(read.keys)
            followers[place]?.catchingUp = read
            for session in read.keys { followers[place]?.behind[session] = nil }
            followerReadsUnderWay += 1
            return .sessions(request)
        }
        return nil
    }

    /// The caseload of a follower was read again.
    mutating func completedReopening(_ request: FollowerRequest, _ answer: Reopening) -> [Delivery] {
        followerReadsUnderWay -= 1
        saw(epoch: answer.caseload.rightsEpoch)
        var deliveries = [recovered()].compactMap { $0 }
        guard let place = place(of: request.watcher), watchers[place].phase == .begun, var follower = followers[place]
        else { return deliveries }
        follower.isReopening = false
        guard answer.caseload.rightsEpoch == epoch else {
            // Another read has shown that rights have changed since this one.
            follower.needsReopening = true
            follower.giveBack()
            followers[place] = follower
            followerQueue.append(request.watcher)
            return deliveries
        }
        guard answer.caseload.refusal == nil else {
            followers[place] = follower
            if end(request.watcher) { deliveries.append(Delivery(.revoked(nil), to: [request.watcher])) }
            return deliveries
        }
        watchers[place].epoch = max(watchers[place].epoch, answer.caseload.rightsEpoch)
        guard watchers[place].isReady else {
            // There is no room: it is read again when there is, and until then its scope is whose sessions it was shown.
            follower.needsReopening = true
            follower.giveBack()
            followers[place] = follower
            return deliveries
        }
        let events = differences(answer, &follower)
        // The feed may not have come as far, and of what was made and done meanwhile only the feed knows.
        if let delivery = say(events, at: nil, to: place, &follower) { deliveries.append(delivery) }
        followers[place] = follower
        if follower.isBehind || follower.needsReopening { followerQueue.append(request.watcher) }
        return deliveries
    }

    /// What a follower has to be told to be where its caseload is.
    private func differences(_ answer: Reopening, _ follower: inout Follower) -> [CaseloadEvent] {
        var events: [CaseloadEvent] = []
        var removed = Set(answer.lost)
        let (before, scope) = (follower.scope, answer.caseload.scope)
        for (session, given) in follower.given where !scope.contains(given.patient) { removed.insert(session) }
        // Deleted, and its patient taken away.
        for (session, patient) in follower.deleted where before.contains(patient) && !scope.contains(patient) {
            removed.insert(session)
        }
        follower.scope = scope
        for session in removed.sorted() {
            follower.given[session] = nil
            follower.behind[session] = nil
            follower.catchingUp?[session] = nil
            events.append(.removed(session))
        }
        follower.behind = follower.behind.filter { scope.contains($0.value) }
        follower.deleted = follower.deleted.filter { scope.contains($0.value) }
        let listed = Set(answer.caseload.sessions.map(\.progress.sessionID))
        // It is done or deleted: the next read tells.
        for (session, given) in follower.given where given.status != .processed && !listed.contains(session) {
            follower.behind[session] = given.patient
        }
        for (session, patient) in follower.catchingUp ?? [:] where scope.contains(patient) && !listed.contains(session)
        {
            follower.behind[session] = patient
        }
        follower.catchingUp = nil
        for (patient, progress) in answer.caseload.sessions {
            events += follower.events(
                for: progress, of: patient, transitions: answer.transitions[progress.sessionID])
        }
        return events
    }

    /// What has changed while a follower had no room was read.
    mutating func completedCatchUp(_ request: FollowerRequest, _ changes: ProgressChanges) -> [Delivery] {
        followerReadsUnderWay -= 1
        saw(epoch: changes.rightsEpoch)
        var deliveries = [recovered()].compactMap { $0 }
        guard let place = place(of: request.watcher), watchers[place].phase == .begun, var follower = followers[place]
        else { return deliveries }
        let read = follower.catchingUp ?? [:]
        follower.catchingUp = nil
        if watchers[place].isReady, watchers[place].epoch == changes.rightsEpoch, changes.rightsEpoch == epoch,
            !follower.needsReopening
        {
            let events = news(in: changes, of: read, &follower)
            if let delivery = say(events, at: nil, to: place, &follower) { deliveries.append(delivery) }
        } else {
            follower.behind.merge(read) { present, _ in present }
        }
        followers[place] = follower
        if follower.isBehind || follower.needsReopening { followerQueue.append(request.watcher) }
        return deliveries
    }

    private func news(
        in changes: ProgressChanges, of read: [SessionID: UserID], _ follower: inout Follower
    ) -> [CaseloadEvent] {
        var events: [CaseloadEvent] = []
        for (progress, transitions) in changes.changed {
            guard let patient = read[progress.sessionID] else { continue }
            events += follower.events(for: progress, of: patient, transitions: transitions)
        }
        // Whoever has not seen it may have it listed from before.
        let gone = Set(changes.missing).intersection(follower.given.keys).union(follower.deleted.keys)
        for session in gone.sorted() {
            follower.given[session] = nil
            events.append(.removed(session))
        }
        follower.deleted = [:]
        return events
    }

    /// A read for a follower failed: what it wanted is still wanted.
    mutating func failed(_ read: FollowerRead) {
        followerReadsUnderWay -= 1
        switch read {
        case .caseload(let request):
            guard let place = place(of: request.watcher), followers[place] != nil else { return }
            followers[place]?.isReopening = false
            followers[place]?.needsReopening = true
            followers[place]?.giveBack()
            followerQueue.append(request.watcher)
        case .sessions(let request):
            guard let place = place(of: request.watcher), followers[place] != nil else { return }
            followers[place]?.giveBack()
            followerQueue.append(request.watcher)
        }
    }
}
