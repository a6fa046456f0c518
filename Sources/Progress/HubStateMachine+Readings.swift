import DequeModule
import Domain

/// Sessions to be read, each with the version to read from.
struct Reading: Equatable, Sendable {
    var sessions: [SessionID] = []
    var versions: [Int64] = []
}

extension HubStateMachine {
    // MARK: - Wanting to read

    /// A hint says that a session has come to a version; 0 says that it is deleted.
    ///
    /// A hint may lie, so it can only cause a read. One that names a version already known adds nothing.
    mutating func hint(_ session: SessionID, version: Int64) {
        feedHint(session, version: version)
        // A deletion stands for all that came before it: hints that come together are joined.
        if let found = unannounced[session], version == 0 || version >= found { unannounced[session] = nil }
        guard let known = watched[session]?.known, version == 0 || version > known else { return }
        enqueue(session, .hints)
    }

    /// Hints may have been lost: read everything.
    mutating func resync() {
        for session in watched.keys { enqueue(session, .hints) }
        feedResync()
        isEpochWanted = true
    }

    /// The poll is due: something was committed since the last one.
    ///
    /// - Returns: How many sessions the last one has found news of that no hint has told of since: in a healthy server,
    ///   none.
    mutating func poll() -> Int {
        defer { unannounced.removeAll(keepingCapacity: true) }
        for (session, entry) in watched where !entry.isHinted { enqueue(session, .poll) }
        feedResync()
        isEpochWanted = true
        return unannounced.count
    }

    /// Somebody's rights have changed.
    mutating func rightsChanged() { isEpochWanted = true }

    /// The pause after news of a session is over, and a read is wanted.
    ///
    /// - Returns: Whether another begins.
    mutating func pauseEnded(_ session: SessionID) -> Bool {
        let isFollowed = feedPauseEnded(session)
        guard let entry = watched[session] else { return isFollowed }
        let isWatched = entry.pause == .runningWithNews
        watched[session]?.pause = isWatched ? .running : .none
        enqueue(session, .hints)
        return isWatched || isFollowed
    }

    mutating func enqueue(_ session: SessionID, _ lane: Lane) {
        switch lane {
        case .hints:
            guard watched[session]?.isHinted == false else { return }
            watched[session]?.isHinted = true
        case .poll:
            guard watched[session]?.isPolled == false else { return }
            watched[session]?.isPolled = true
        }
        queues[lane.rawValue].append(session)
    }

    // MARK: - Reading

    /// The next reading of a lane; nil while one is under way or when nothing is wanted.
    mutating func nextReading(_ lane: Lane) -> Reading? {
        guard underWay[lane.rawValue] == nil else { return nil }
        var reading = Reading()
        while reading.sessions.count < readLimit, let session = queues[lane.rawValue].popFirst() {
            // A session that was forgotten and is watched again may stand here twice; it is wanted once, if at all.
            guard let entry = watched[session], lane == .hints ? entry.isHinted : entry.isPolled else { continue }
            switch lane {
            case .hints: watched[session]?.isHinted = false
            case .poll: watched[session]?.isPolled = false
            }
            reading.sessions.append(session)
            reading.versions.append(entry.known)
        }
        // After a burst the memory is not kept.
        if queues[lane.rawValue].isEmpty { queues[lane.rawValue] = [] }
        // Only what is asked from a snapshot of after the change of rights shows the new epoch.
        let isForEpoch = lane == .hints && isEpochWanted
        guard !reading.sessions.isEmpty || isForEpoch else { return nil }
        if isForEpoch { isEpochWanted = false }
        underWay[lane.rawValue] = reading
        return reading
    }

    /// What a reading leads to.
    struct Outcome {
        /// Messages for watchers with sockets.
        var deliveries: [Delivery] = []
        /// News for watchers within the program.
        var listeners: [(listener: WatcherID, progress: SessionProgress)] = []
        /// Watchers within the program whose session is no more.
        var endedListeners: [WatcherID] = []
        /// Sessions to be read once more after a pause, which ends with ``pauseEnded(_:)``: a percentage that follows an
        /// announcement within half a second is committed without a hint.
        var pauses: [SessionID] = []
    }

    /// The reading of a lane came back.
    ///
    /// - Parameters:
    ///   - news: The sessions that are newer than asked.
    ///   - missing: Those that do not exist.
    ///   - epoch: The epoch of rights in the same snapshot.
    mutating func completed(_ lane: Lane, _ news: [SessionReading], missing: [SessionID], epoch: Int64) -> Outcome {
        guard let reading = underWay[lane.rawValue] else { return Outcome() }
        underWay[lane.rawValue] = nil
        saw(epoch: epoch)
        var outcome = Outcome()
        if let recovery = recovered() { outcome.deliveries.append(recovery) }
        let asked = Dictionary(uniqueKeysWithValues: zip(reading.sessions, reading.versions))
        for item in news {
            guard let from = asked[item.progress.sessionID] else { continue }
            pass(item, from: from, epoch: epoch, lane, &outcome)
        }
        for session in missing { miss(session, lane, &outcome) }
        return outcome
    }

    /// Passes one session's news on to its watchers.
    private mutating func pass(
        _ item: SessionReading, from: Int64, epoch: Int64, _ lane: Lane, _ outcome: inout Outcome
    ) {
        let (session, version) = (item.progress.sessionID, item.progress.version)
        guard let entry = watched[session] else { return }
        // Watchers with the same version before get the same message; nearly always they all do.
        var groups: [(given: Int64, watchers: [WatcherID])] = []
        var place = Int(entry.first)
        while place >= 0 {
            let watcher = watchers[place]
            defer { place = Int(watcher.next) }
            // One without a snapshot will begin with one that is as new, or be behind.
            guard watcher.phase == .begun, watcher.given < version else { continue }
            if watcher.principal == nil {
                guard watcher.given >= from else { continue }
                watchers[place].given = version
                outcome.listeners.append((id(at: place), item.progress))
            } else if watcher.isReady, !watcher.isBehind, watcher.given >= from, watcher.epoch == epoch,
                epoch == self.epoch
            {
                // Under this very epoch it was seen to have the right; under an older one it may have been without, and
                // under a newer one that another read has shown, it may be without by now.
                watchers[place].given = version
                if let index = groups.firstIndex(where: { $0.given == watcher.given }) {
                    groups[index].watchers.append(id(at: place))
                } else {
                    groups.append((watcher.given, [id(at: place)]))
                }
            } else {
                markBehind(place)
            }
        }
        outcome.deliveries += groups.map { given, watchers in
            let transitions = item.transitions.filter { $0.version > given && $0.version < version }
            return Delivery(.state(item.progress, after: transitions), to: watchers, given: given)
        }
        guard entry.known < version else { return }
        // A reading from before a listener began does not raise what that listener waits for.
        if entry.known >= from { watched[session]?.known = version }
        let isAnnounced = entry.isHinted || underWay[Lane.hints.rawValue]?.sessions.contains(session) == true
        // To watchers who wait for their snapshots, nothing is news.
        if lane == .poll, entry.begun > 0, entry.pause == .none, !isAnnounced { unannounced[session] = version }
        if entry.pause == .none {
            watched[session]?.pause = .running
            outcome.pauses.append(session)
        } else {
            watched[session]?.pause = .runningWithNews
        }
    }

    /// A reading did not find a session.
    ///
    /// It may be from before the session was made, and who watches now may have seen it since. So nobody ends by it who has
    /// not been asked about later: watchers with sockets are caught up, and the others wait for the reading that they wanted
    /// when they began, in the lane of the hints.
    private mutating func miss(_ session: SessionID, _ lane: Lane, _ outcome: inout Outcome) {
        guard let entry = watched[session] else { return }
        for id in watchers(of: session) {
            let place = Int(id.place)
            guard watchers[place].phase == .begun else { continue }
            if watchers[place].principal != nil {
                markBehind(place)
            } else if lane == .poll {
                enqueue(session, .hints)
            } else if !entry.isHinted, end(id) {
                outcome.endedListeners.append(id)
            }
        }
    }

    /// The reading of a lane failed: what it wanted is still wanted.
    mutating func failed(_ lane: Lane) {
        guard let reading = underWay[lane.rawValue] else { return }
        underWay[lane.rawValue] = nil
        if lane == .hints { isEpochWanted = true }
        for session in reading.sessions { enqueue(session, lane) }
    }

    // MARK: - Trouble

    /// A read has failed.
    ///
    /// - Returns: What watchers are to be told.
    mutating func degraded() -> Delivery? {
        isDegraded = true
        return tellTrouble(.degraded)
    }

    /// A read has worked.
    mutating func recovered() -> Delivery? {
        guard isDegraded else { return nil }
        isDegraded = false
        return tellTrouble(.recovered)
    }

    private mutating func tellTrouble(_ message: WatcherMessage) -> Delivery? {
        var told: [WatcherID] = []
        for place in watchers.indices
        where watchers[place].phase == .begun && watchers[place].isReady && watchers[place].knowsTrouble != isDegraded {
            watchers[place].knowsTrouble = isDegraded
            told.append(id(at: place))
        }
        return told.isEmpty ? nil : Delivery(message, to: told)
    }
}
