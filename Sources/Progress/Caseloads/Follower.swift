import Domain
import Store

/// A watcher of all the sessions of a caseload, which has begun.
///
/// While its socket has no room, or its rights have to be read again, it collects which sessions have changed; their states
/// are read when they can be sent.
struct Follower {
    /// What is being read for a follower, with the changed sessions that the read is for.
    private enum Reading {
        /// Nothing. Goes to ``sessions(_:)`` or ``caseload(_:)``.
        case none
        /// The sessions that have changed while there was no room. Goes to ``none``.
        case sessions([SessionID: UserID])
        /// The caseload again: rights may have changed. Nothing is sent meanwhile. Goes to ``none``.
        case caseload([SessionID: UserID])

        var sessions: [SessionID: UserID] {
            switch self {
            case .none: [:]
            case .sessions(let sessions), .caseload(let sessions): sessions
            }
        }

        var isNone: Bool { if case .none = self { true } else { false } }
        var isCaseload: Bool { if case .caseload = self { true } else { false } }
    }

    private var scope: CaseloadScope
    private var shown: ShownSessions
    /// The sessions that have changed while there was no room, with their patients.
    private var behind: [SessionID: UserID] = [:]
    /// The sessions that were deleted meanwhile.
    private var deleted: [SessionID: UserID]
    /// The snapshot in which its sessions were first listed.
    private let listed: FeedPosition
    /// Everything committed up to here was sent.
    private var position: FeedPosition
    private var reading = Reading.none
    /// The caseload has to be read again before anything is sent.
    ///
    /// Rights can change once more while it is being read.
    private(set) var needsCaseload = false

    /// - Parameter opening: What was collected while the caseload was read.
    init(_ caseload: Caseload, after opening: OpeningFollower) {
        scope = caseload.scope
        shown = ShownSessions(caseload)
        listed = caseload.position
        position = caseload.position
        deleted = opening.deleted.filter { caseload.scope.contains($0.value) }
        behind = opening.changed.filter { session, change in
            caseload.scope.contains(change.patient) && !isPast(session, changedBy: change.transaction)
        }.mapValues(\.patient)
    }

    /// Something is missing that was committed.
    var isBehind: Bool { !behind.isEmpty || !deleted.isEmpty || !reading.isNone }
    var hasShownNothing: Bool { shown.isEmpty }

    /// Whether a session was done before the follower came: it was not shown, and has not changed since the first listing.
    ///
    /// The feed may bring it nevertheless: its read may have begun earlier, or end earlier.
    private func isPast(_ session: SessionID, changedBy transaction: Int64?) -> Bool {
        guard !shown.contains(session), !isMissing(session) else { return false }
        return transaction.map(listed.shows) ?? true
    }

    /// Whether a session has to be read, or is being read.
    private func isMissing(_ session: SessionID) -> Bool {
        behind[session] != nil || reading.sessions[session] != nil
    }

    // MARK: - The feed

    /// A read of the feed came back.
    ///
    /// - Parameter mayTell: There is room, and the right is known.
    /// - Returns: The message that it brings, if any.
    mutating func pass(_ changes: FeedChanges, mayTell: Bool) -> WatcherMessage? {
        defer { if !isBehind { shown.feedCame() } }
        guard mayTell, !needsCaseload, !reading.isCaseload else {
            collect(changes)
            return nil
        }
        let events = tell(changes)
        return message(events, upTo: isBehind ? nil : changes.position)
    }

    private mutating func tell(_ changes: FeedChanges) -> [CaseloadEvent] {
        var events: [CaseloadEvent] = []
        for item in changes.items where scope.contains(item.patient) {
            let session = item.progress.sessionID
            guard !isPast(session, changedBy: item.transaction) else { continue }
            // What lies between is still to be read, and a read under way may not have seen this.
            guard !isMissing(session) else {
                behind[session] = item.patient
                continue
            }
            events += shown.events(for: item.progress, of: item.patient, transitions: item.transitions)
        }
        for (session, patient) in changes.deleted where scope.contains(patient) {
            shown.remove(session)
            events.append(.removed(session))
        }
        return events
    }

    /// Notes what a read of the feed has found and what cannot be sent now.
    private mutating func collect(_ changes: FeedChanges) {
        // Whose sessions it may see, the read that is under way is about to say.
        let isAnybodys = reading.isCaseload
        for item in changes.items where isAnybodys || scope.contains(item.patient) {
            let session = item.progress.sessionID
            if scope.contains(item.patient), isPast(session, changedBy: item.transaction) { continue }
            behind[session] = item.patient
        }
        for (session, patient) in changes.deleted where isAnybodys || scope.contains(patient) {
            deleted[session] = patient
        }
    }

    /// The message of some events, if there are any.
    ///
    /// - Parameter newPosition: Everything up to here is sent with it; nil when something is still missing.
    private mutating func message(_ events: [CaseloadEvent], upTo newPosition: FeedPosition?) -> WatcherMessage? {
        let before = position
        position = newPosition ?? before
        return events.isEmpty ? nil : .caseload(events, before: before, after: position)
    }

    // MARK: - Reads for this follower

    /// Rights may have changed.
    ///
    /// - Returns: False when that was known.
    mutating func needCaseload() -> Bool {
        defer { needsCaseload = true }
        return !needsCaseload
    }

    /// Begins the next read for this follower; nil while one is under way or when nothing is wanted.
    mutating func nextRead(_ request: FollowerRequest, isReady: Bool, limit: Int) -> FollowerRead? {
        guard reading.isNone else { return nil }
        var request = request
        request.versions = shown.versions
        if case .patients(let patients) = scope { request.patients = patients }
        if needsCaseload {
            needsCaseload = false
            // The snapshot to come is newer than all of that, but does not list what is done.
            request.sessions = Array(behind.keys)
            reading = .caseload(behind)
            behind = [:]
            return .caseload(request)
        }
        guard isBehind, isReady else { return nil }
        let sessions = Dictionary(uniqueKeysWithValues: behind.lazy.map { ($0, $1) }.prefix(limit))
        request.sessions = Array(sessions.keys)
        reading = .sessions(sessions)
        for session in sessions.keys { behind[session] = nil }
        return .sessions(request)
    }

    /// The read under way came to nothing: what it was for is still missing.
    mutating func giveBack() {
        if reading.isCaseload { needsCaseload = true }
        behind.merge(reading.sessions) { present, _ in present }
        reading = .none
    }

    /// The caseload was read again, and there is room.
    ///
    /// - Returns: The message that brings the follower there, if any.
    mutating func refreshed(_ refresh: CaseloadRefresh) -> WatcherMessage? {
        // The feed may not have come as far, and only the feed knows what was made and done meanwhile.
        message(differences(refresh), upTo: nil)
    }

    private mutating func differences(_ refresh: CaseloadRefresh) -> [CaseloadEvent] {
        var missing = reading.sessions
        reading = .none
        var removed = Set(refresh.lost)
        let (before, present) = (scope, refresh.caseload.scope)
        removed.formUnion(shown.sessions(outside: present))
        // Deleted, and its patient taken away.
        for (session, patient) in deleted where before.contains(patient) && !present.contains(patient) {
            removed.insert(session)
        }
        scope = present
        var events: [CaseloadEvent] = []
        for session in removed.sorted() {
            shown.remove(session)
            behind[session] = nil
            missing[session] = nil
            events.append(.removed(session))
        }
        behind = behind.filter { present.contains($0.value) }
        deleted = deleted.filter { present.contains($0.value) }
        let listed = Set(refresh.caseload.sessions.map(\.progress.sessionID))
        // It is done or deleted: the next read tells.
        for (session, patient) in shown.unfinished where !listed.contains(session) { behind[session] = patient }
        for (session, patient) in missing where present.contains(patient) && !listed.contains(session) {
            behind[session] = patient
        }
        for (patient, progress) in refresh.caseload.sessions {
            events += shown.events(
                for: progress, of: patient, transitions: refresh.transitions[progress.sessionID])
        }
        return events
    }

    /// The sessions that have changed while there was no room were read.
    ///
    /// - Parameter mayTell: There is room, and the right is known.
    /// - Returns: The message that they bring, if any.
    mutating func caughtUp(_ changes: ProgressChanges, mayTell: Bool) -> WatcherMessage? {
        guard mayTell, !needsCaseload else {
            giveBack()
            return nil
        }
        return message(news(in: changes), upTo: nil)
    }

    private mutating func news(in changes: ProgressChanges) -> [CaseloadEvent] {
        let read = reading.sessions
        reading = .none
        var events: [CaseloadEvent] = []
        for (progress, transitions) in changes.changed {
            guard let patient = read[progress.sessionID] else { continue }
            events += shown.events(for: progress, of: patient, transitions: transitions)
        }
        // A client that has not seen it may have it listed from before.
        let gone = Set(changes.missing).intersection(shown.sessions).union(deleted.keys)
        for session in gone.sorted() {
            shown.remove(session)
            events.append(.removed(session))
        }
        deleted = [:]
        return events
    }
}
