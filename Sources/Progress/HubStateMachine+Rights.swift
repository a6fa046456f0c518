import DequeModule
import Domain

/// A watcher whose right and state are to be read in one snapshot.
struct CatchUpRequest: Equatable, Sendable {
    var watcher: WatcherID
    var principal: Principal
    var session: SessionID
    /// The version that the watcher has.
    var version: Int64
}

/// What a catch-up has found.
enum CatchUpAnswer: Equatable, Sendable {
    /// The state, with the transitions since what the watcher has.
    case reading(SessionReading)
    /// The right has ended.
    case refused
    /// This release cannot read the row: the watcher waits for what comes after.
    case unreadable
}

/// Which watchers are to be asked about next whether they may still watch.
struct RightsSweep: Equatable {
    /// The watchers asked about at present.
    var underWay: [WatcherID]?
    /// The next place to look at for watchers who were seen under an older epoch; nil when there are none.
    var cursor: Int?
    /// The next place to look at for the regular check.
    var regularCursor = 0
    /// How many places the regular check still has to look at now; what is left of a whole one waits for the next time.
    var regularDue = 0.0
}

extension HubStateMachine {
    /// A read has shown an epoch of rights.
    ///
    /// Who was let in under an older one is asked about before it is given anything of a newer snapshot.
    mutating func saw(epoch seen: Int64) {
        guard seen > epoch else { return }
        epoch = seen
        sweep.cursor = 0
    }

    // MARK: - Catching up

    /// The watchers to catch up next; nil while that is under way or when nobody is behind.
    mutating func nextCatchUp() -> [CatchUpRequest]? {
        guard catchUp == nil else { return nil }
        var requests: [CatchUpRequest] = []
        while requests.count < readLimit, let id = behind.popFirst() {
            guard let place = place(of: id) else { continue }
            let watcher = watchers[place]
            guard watcher.phase == .begun, watcher.isBehind, watcher.isReady,
                let principal = watcher.principal, let session = watcher.session
            else { continue }
            requests.append(
                CatchUpRequest(watcher: id, principal: principal, session: session, version: watcher.given))
        }
        if behind.isEmpty { behind = [] }
        guard !requests.isEmpty else { return nil }
        catchUp = requests
        return requests
    }

    /// The catch-up under way came back.
    ///
    /// - Parameters:
    ///   - answers: For each request in order.
    ///   - epoch: The epoch of rights in the same snapshot.
    mutating func completedCatchUp(_ answers: [CatchUpAnswer], epoch: Int64) -> [Delivery] {
        guard let requests = catchUp else { return [] }
        catchUp = nil
        saw(epoch: epoch)
        var deliveries = [recovered()].compactMap { $0 }
        guard epoch == self.epoch else {
            // Another read has shown that rights have changed since this one: they are asked about anew.
            behind.append(contentsOf: requests.map(\.watcher))
            return deliveries
        }
        for (request, answer) in zip(requests, answers) {
            guard let place = place(of: request.watcher), watchers[place].phase == .begun else { continue }
            if answer == .refused {
                if end(request.watcher) {
                    deliveries.append(Delivery(.revoked(request.session), to: [request.watcher]))
                }
                continue
            }
            // Right and state are of one snapshot: nothing was committed between them.
            watchers[place].epoch = max(watchers[place].epoch, epoch)
            guard watchers[place].isReady else { continue }
            watchers[place].isBehind = false
            guard case .reading(let reading) = answer else { continue }
            let (given, version) = (watchers[place].given, reading.progress.version)
            if version > given {
                // Who has been given nothing begins with the state as it stands.
                let transitions =
                    given == 0 ? [] : reading.transitions.filter { $0.version > given && $0.version < version }
                watchers[place].given = version
                deliveries.append(
                    Delivery(.state(reading.progress, after: transitions), to: [request.watcher], given: given))
            }
            // Something newer has gone past it meanwhile.
            if watched[request.session]?.known ?? 0 > watchers[place].given { markBehind(place) }
        }
        return deliveries
    }

    mutating func failedCatchUp() {
        guard let requests = catchUp else { return }
        catchUp = nil
        behind.append(contentsOf: requests.map(\.watcher))
    }

    // MARK: - Asking about rights

    /// Part of the regular check is due, which finds the ends of rights that no change of the database tells of: a sign-in
    /// that has run out.
    ///
    /// - Parameter share: How large a part of all watchers, from 0 to 1.
    mutating func checkRights(share: Double) {
        sweep.regularDue = min(Double(watchers.count), sweep.regularDue + Double(watchers.count) * share)
    }

    /// The watchers to ask about next; nil while that is under way or when there is no need.
    mutating func nextSweep() -> [CatchUpRequest]? {
        guard sweep.underWay == nil else { return nil }
        var requests: [CatchUpRequest] = []
        func add(_ place: Int) {
            let watcher = watchers[place]
            if watcher.phase == .begun, followers[place] != nil { return markForReopening(place) }
            guard watcher.phase == .begun, watcher.isAttached, let principal = watcher.principal,
                let session = watcher.session
            else { return }
            requests.append(
                CatchUpRequest(watcher: id(at: place), principal: principal, session: session, version: watcher.given))
        }
        while let cursor = sweep.cursor, requests.count < readLimit {
            guard cursor < watchers.count else {
                sweep.cursor = nil
                break
            }
            sweep.cursor = cursor + 1
            if watchers[cursor].epoch < epoch { add(cursor) }
        }
        while sweep.regularDue >= 1, requests.count < readLimit, !watchers.isEmpty {
            sweep.regularDue -= 1
            sweep.regularCursor = (sweep.regularCursor + 1) % watchers.count
            add(sweep.regularCursor)
        }
        guard !requests.isEmpty else { return nil }
        sweep.underWay = requests.map(\.watcher)
        return requests
    }

    /// The answer to the sweep under way.
    ///
    /// - Parameters:
    ///   - lost: The positions in the request of those who may not watch any more.
    ///   - epoch: The epoch of rights in the same snapshot.
    mutating func completedSweep(lost: Set<Int>, epoch: Int64) -> [Delivery] {
        guard let asked = sweep.underWay else { return [] }
        sweep.underWay = nil
        saw(epoch: epoch)
        var deliveries = [recovered()].compactMap { $0 }
        for (index, id) in asked.enumerated() {
            guard let place = place(of: id), watchers[place].phase == .begun else { continue }
            if lost.contains(index) {
                let session = watchers[place].session
                end(id)
                deliveries.append(Delivery(.revoked(session), to: [id]))
            } else {
                watchers[place].epoch = max(watchers[place].epoch, epoch)
            }
        }
        return deliveries
    }

    mutating func failedSweep() {
        guard sweep.underWay != nil else { return }
        sweep.underWay = nil
        sweep.cursor = 0
    }
}
