import Domain
import Store

extension HubStateMachine {
    // MARK: - Followers

    /// Registers a follower of all sessions of a user.
    ///
    /// From here on it collects what the feed finds, until its caseload has been read.
    mutating func follow(for principal: Principal) -> WatcherID {
        let place = takePlace(for: principal)
        followers[place] = Follower()
        return id(at: place)
    }

    /// The caseload of a follower begins to be read.
    mutating func readsCaseload(of id: WatcherID) {
        if let place = place(of: id) { followers[place]?.isTooEarly = false }
    }

    /// Whether the caseload of a follower has to be read again before it begins.
    func isTooEarly(_ id: WatcherID) -> Bool { place(of: id).flatMap { followers[$0]?.isTooEarly } ?? false }

    /// Gives a follower its caseload.
    ///
    /// - Returns: The events to begin with, and the sessions to be read once more after a pause, as a watcher's is; nil when
    ///   there are too many streams, and the follower is gone.
    mutating func begin(
        _ id: WatcherID, with caseload: Caseload
    ) -> (events: [CaseloadEvent], pauses: [SessionID])? {
        guard let place = place(of: id), watchers[place].phase == .opening, var follower = followers[place],
            let principal = watchers[place].principal
        else { return nil }
        guard admission.admit(principal.user) else {
            release(id)
            return nil
        }
        saw(epoch: caseload.rightsEpoch)
        watchers[place].phase = .begun
        watchers[place].epoch = caseload.rightsEpoch
        follower.scope = caseload.scope
        follower.position = caseload.position
        follower.listed = caseload.position
        let (collected, heard) = (follower.behind, follower.heard)
        (follower.behind, follower.heard) = ([:], [:])
        follower.deleted = follower.deleted.filter { caseload.scope.contains($0.value) }
        let beginsFeed = feed.cursor == nil
        if beginsFeed {
            feed.cursor = caseload.position
            // Who is opening at this moment may have read an older snapshot, and the feed never told of what lies between.
            for other in followers.keys where other != place { followers[other]?.isTooEarly = true }
        }
        var events: [CaseloadEvent] = []
        var pauses: [SessionID] = []
        for (patient, progress) in caseload.sessions {
            follower.given[progress.sessionID] = Follower.Given(progress, of: patient)
            events.append(.state(progress))
            guard feed.sessions[progress.sessionID] == nil else { continue }
            feed.sessions[progress.sessionID] = Feed.Session(version: progress.version, pause: .running)
            pauses.append(progress.sessionID)
        }
        follower.behind = collected.filter { session, patient in
            caseload.scope.contains(patient) && !follower.isPast(session, changedBy: heard[session])
        }
        followers[place] = follower
        // Hints that came between the snapshot and now were nobody's.
        if beginsFeed { feedResync() }
        return (events + [.ready], pauses)
    }

    /// A follower is gone; with the last one the feed ends.
    mutating func forgetFollower(_ place: Int) {
        followers[place] = nil
        guard followers.isEmpty else { return }
        // Its read may still be under way, and the next feed must not take the answer for its own.
        let isReading = feed.underWay != nil
        feed = Feed()
        guard isReading else { return }
        feed.underWay = []
        feed.isStale = true
    }

    mutating func markForReopening(_ place: Int) {
        guard followers[place]?.needsReopening == false else { return }
        followers[place]?.needsReopening = true
        followerQueue.append(id(at: place))
    }

    /// Whether a follower can be told something now.
    private func isFree(_ place: Int, _ follower: Follower, under epoch: Int64) -> Bool {
        let watcher = watchers[place]
        // Under an older epoch than its own it may have been without the right.
        return watcher.phase == .begun && watcher.isReady && watcher.epoch == epoch && epoch == self.epoch
            && !follower.needsReopening && !follower.isReopening
    }

    // MARK: - The feed

    mutating func feedHint(_ session: SessionID, version: Int64) {
        guard feed.cursor != nil, version == 0 || version > feed.sessions[session]?.version ?? 0 else { return }
        if version > 0 { feed.hinted.insert(session) }
        feed.isWanted = true
    }

    /// Everything is to be looked at: also the percentages that no hint tells of.
    mutating func feedResync() {
        guard feed.cursor != nil else { return }
        feed.hinted.formUnion(feed.sessions.keys)
        feed.isWanted = true
    }

    mutating func feedPauseEnded(_ session: SessionID) -> Bool {
        guard let known = feed.sessions[session] else { return false }
        let isFollowed = known.pause == .runningWithNews
        feed.sessions[session]?.pause = isFollowed ? .running : .none
        feed.hinted.insert(session)
        feed.isWanted = true
        return isFollowed
    }

    /// The next read of the feed; nil while one is under way or when nothing is wanted.
    mutating func nextFeed() -> (since: FeedPosition, sessions: [SessionID])? {
        guard feed.underWay == nil, feed.isWanted, let cursor = feed.cursor else { return nil }
        let sessions = Array(feed.hinted.prefix(readLimit))
        feed.hinted.subtract(sessions)
        feed.isWanted = !feed.hinted.isEmpty
        feed.underWay = sessions
        return (cursor, sessions)
    }

    /// The read of the feed came back.
    mutating func completedFeed(_ changes: FeedChanges) -> Outcome {
        guard feed.underWay != nil else { return Outcome() }
        feed.underWay = nil
        saw(epoch: changes.rightsEpoch)
        var outcome = Outcome()
        if let recovery = recovered() { outcome.deliveries.append(recovery) }
        guard !feed.isStale else {
            feed.isStale = false
            return outcome
        }
        feed.cursor = changes.position
        for item in changes.items {
            if noteNews(of: item.progress) { outcome.pauses.append(item.progress.sessionID) }
        }
        for (session, _) in changes.deleted { feed.sessions[session] = nil }
        for place in followers.keys {
            if let delivery = pass(changes, to: place) { outcome.deliveries.append(delivery) }
        }
        return outcome
    }

    /// Notes what a session has come to.
    ///
    /// - Returns: Whether it is to be read once more after a pause.
    private mutating func noteNews(of progress: SessionProgress) -> Bool {
        let known = feed.sessions[progress.sessionID]
        guard progress.version > known?.version ?? 0 else { return false }
        guard progress.status != .processed else {
            feed.sessions[progress.sessionID] = nil
            return false
        }
        let pauses = known == nil || known?.pause == Pause.none
        feed.sessions[progress.sessionID] = Feed.Session(
            version: progress.version, pause: pauses ? .running : .runningWithNews)
        return pauses
    }

    private mutating func pass(_ changes: FeedChanges, to place: Int) -> Delivery? {
        guard var follower = followers[place], watchers[place].phase != .ended else { return nil }
        defer {
            follower.feedCame()
            followers[place] = follower
        }
        guard isFree(place, follower, under: changes.rightsEpoch) else {
            collect(changes, for: place, &follower)
            return nil
        }
        var events: [CaseloadEvent] = []
        for item in changes.items where follower.scope.contains(item.patient) {
            let session = item.progress.sessionID
            guard !follower.isPast(session, changedBy: item.transaction) else { continue }
            // What lies between is still to be read, and a read under way may not have seen this.
            guard follower.behind[session] == nil, follower.catchingUp?[session] == nil else {
                follower.behind[session] = item.patient
                continue
            }
            events += follower.events(for: item.progress, of: item.patient, transitions: item.transitions)
        }
        for (session, patient) in changes.deleted where follower.scope.contains(patient) {
            follower.given[session] = nil
            events.append(.removed(session))
        }
        return say(events, at: follower.isBehind ? nil : changes.position, to: place, &follower)
    }

    /// Notes what a follower cannot be told now.
    private mutating func collect(_ changes: FeedChanges, for place: Int, _ follower: inout Follower) {
        let watcher = watchers[place]
        let isOpening = watcher.phase == .opening
        // Whose sessions it may see, a read that is under way is about to say.
        let isAnybodys = isOpening || follower.isReopening
        for item in changes.items where isAnybodys || follower.scope.contains(item.patient) {
            let session = item.progress.sessionID
            if follower.scope.contains(item.patient), follower.isPast(session, changedBy: item.transaction) { continue }
            follower.behind[session] = item.patient
            if isOpening, let transaction = item.transaction { follower.heard[session] = transaction }
        }
        for (session, patient) in changes.deleted where isAnybodys || follower.scope.contains(patient) {
            follower.deleted[session] = patient
        }
        // Of an older epoch than its own, which no sweep looks at: it can be caught up at once.
        if watcher.isReady, watcher.epoch > changes.rightsEpoch, follower.isBehind {
            followerQueue.append(id(at: place))
        }
    }

    /// Makes the message of some events, if there are any.
    ///
    /// - Parameter position: Everything up to here is said with it; nil when something is still missing.
    func say(
        _ events: [CaseloadEvent], at position: FeedPosition?, to place: Int, _ follower: inout Follower
    ) -> Delivery? {
        let before = follower.position
        follower.position = position ?? before
        guard !events.isEmpty else { return nil }
        return Delivery(.caseload(events, before: before, after: follower.position), to: [id(at: place)])
    }

    mutating func failedFeed() {
        guard let sessions = feed.underWay else { return }
        feed.underWay = nil
        guard !feed.isStale else { return feed.isStale = false }
        feed.hinted.formUnion(sessions)
        feed.isWanted = true
    }
}
