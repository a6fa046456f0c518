import Domain
import Store

/// A watcher of all sessions of a caseload that has begun.
///
/// While its socket has no room, or the hub reads its rights again, it collects which sessions have changed. The hub reads
/// their states when it can send them.
struct Follower {
    /// The read under way for a follower, with the changed sessions that it is for.
    private enum Reading {
        /// There is no read. Goes to ``sessions(_:)`` or ``caseload(_:)``.
        case none
        /// The hub reads the sessions that have changed while there was no room. Goes to ``none``.
        case sessions([SessionID: UserID])
        /// The hub reads the caseload again, because rights may have changed. It sends nothing meanwhile. Goes to ``none``.
        case caseload([SessionID: UserID])

        var sessions: [SessionID: UserID] {
            switch self {
            case .none: [:]
            case .sessions(let sessions), .caseload(let sessions): sessions
            }
        }

        /// The sessions of a catch-up without one that was deleted meanwhile: the read may be older than the deletion.
        mutating func remove(_ session: SessionID) {
            guard case .sessions(var sessions) = self, sessions.removeValue(forKey: session) != nil else { return }
            self = .sessions(sessions)
        }

        var isNone: Bool { if case .none = self { true } else { false } }
        var isCaseload: Bool { if case .caseload = self { true } else { false } }
    }

    private(set) var scope: CaseloadScope
    private var shown: ShownSessions
    /// The sessions that have changed while there was no room, with their patients.
    private var behind: [SessionID: UserID] = [:]
    /// The sessions that were deleted meanwhile, with their patients.
    private var deleted: [SessionID: UserID]
    /// The database snapshot of the first caseload.
    private let listed: FeedPosition
    /// The database snapshot of the caseload that gave the scope.
    private(set) var scopeRead: DatabaseSnapshot
    /// The follower was sent everything that was committed before this position.
    private var position: FeedPosition
    private var reading = Reading.none
    /// The hub must read the caseload again before it sends anything.
    ///
    /// Rights can change once more during that read.
    private(set) var needsCaseload = false

    /// A follower that begins with a caseload.
    ///
    /// - Parameters:
    ///   - caseload: The caseload.
    ///   - missed: What the feed has found while the caseload was read.
    init(_ caseload: Caseload, missed: CollectedChanges.Missed) {
        scope = caseload.scope
        shown = ShownSessions(caseload)
        listed = caseload.position
        scopeRead = caseload.position.snapshot
        position = caseload.position
        deleted = missed.deleted
        behind = missed.changed.filter { session, change in !isPast(session, changedBy: change.transaction) }
            .mapValues(\.patient)
    }

    /// Whether an answer of the feed concerns the follower only if it has a change in its scope.
    ///
    /// Otherwise each answer does: the read under way is about to show the scope, or the follower counts the answers until it
    /// forgets processed sessions.
    var isSettled: Bool { !reading.isCaseload && !shown.isForgetting }

    /// Changes the follower in place.
    mutating func apply<Result>(_ change: (inout Follower) -> Result) -> Result { change(&self) }

    /// Whether the follower has missed something that was committed.
    var isBehind: Bool { !behind.isEmpty || !deleted.isEmpty || !reading.isNone }
    var hasShownNothing: Bool { shown.isEmpty }

    /// Whether a session was processed before the follower began: it was not shown, and has not changed since the first
    /// caseload.
    ///
    /// The feed may find it nevertheless, because its read may begin or end earlier than the read of the caseload.
    private func isPast(_ session: SessionID, changedBy transaction: Int64?) -> Bool {
        guard !shown.contains(session), !isMissing(session) else { return false }
        return transaction.map(listed.shows) ?? true
    }

    /// Whether a session waits for a read, or is being read.
    private func isMissing(_ session: SessionID) -> Bool {
        behind[session] != nil || reading.sessions[session] != nil
    }

    // MARK: - The feed

    /// A read of the feed succeeded.
    ///
    /// - Parameters:
    ///   - changes: The answer.
    ///   - maySend: Whether there is room, and the right is confirmed.
    /// - Returns: The message to the follower; nil if there is none.
    mutating func pass(_ changes: FeedChanges, maySend: Bool) -> WatcherMessage? {
        defer { if !isBehind { shown.feedSucceeded() } }
        // An older read may show sessions of patients that the user has lost the right to since.
        guard maySend, !needsCaseload, !reading.isCaseload, !changes.rights.snapshot.precedes(scopeRead) else {
            collect(changes)
            return nil
        }
        let events = show(changes)
        return message(events, upTo: isBehind ? nil : changes.position)
    }

    private mutating func show(_ changes: FeedChanges) -> [CaseloadEvent] {
        var events: [CaseloadEvent] = []
        for item in changes.items where scope.contains(item.patient) {
            let session = item.progress.sessionID
            guard !isPast(session, changedBy: item.transaction) else { continue }
            // The hub must read the changes before this one first. A read under way may not find this one.
            guard !isMissing(session) else {
                behind[session] = item.patient
                continue
            }
            events += shown.events(for: item.progress, of: item.patient, transitions: item.transitions)
        }
        for (session, patient) in changes.deleted where scope.contains(patient) {
            shown.remove(session)
            behind[session] = nil
            reading.remove(session)
            events.append(.removed(session))
        }
        return events
    }

    /// Notes changes that cannot be sent now.
    private mutating func collect(_ changes: FeedChanges) {
        // The read under way is about to show whose sessions the follower may see.
        let isForAnyPatient = reading.isCaseload
        for item in changes.items where isForAnyPatient || scope.contains(item.patient) {
            let session = item.progress.sessionID
            if scope.contains(item.patient), isPast(session, changedBy: item.transaction) { continue }
            behind[session] = item.patient
        }
        for (session, patient) in changes.deleted where isForAnyPatient || scope.contains(patient) {
            deleted[session] = patient
        }
    }

    /// The message with some events.
    ///
    /// - Parameters:
    ///   - events: The events.
    ///   - newPosition: With them, everything before this position is sent; nil if something is still missing.
    /// - Returns: The message; nil if there are no events.
    private mutating func message(_ events: [CaseloadEvent], upTo newPosition: FeedPosition?) -> WatcherMessage? {
        let before = position
        position = newPosition ?? before
        return events.isEmpty ? nil : .caseload(events, before: before, after: position)
    }

    // MARK: - Reads for this follower

    /// Rights may have changed: the hub must read the caseload again.
    ///
    /// - Returns: False if that was known.
    mutating func needCaseload() -> Bool {
        defer { needsCaseload = true }
        return !needsCaseload
    }

    /// Begins the next read for this follower; nil while one is under way, or if nothing is wanted.
    mutating func nextRead(_ request: FollowerRequest, isReady: Bool, limit: Int) -> FollowerRead? {
        guard reading.isNone else { return nil }
        var request = request
        request.versions = shown.versions
        if case .patients(let patients) = scope { request.patients = patients }
        if needsCaseload {
            needsCaseload = false
            // The next database snapshot is newer than these changes, but the caseload does not list processed sessions.
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

    /// The hub cannot use the read under way: everything that it was for is still missing.
    mutating func discardRead() {
        if reading.isCaseload { needsCaseload = true }
        behind.merge(reading.sessions) { present, _ in present }
        reading = .none
    }

    /// The read of the caseload succeeded, and there is room.
    ///
    /// - Parameter refresh: The caseload, and what has changed.
    /// - Returns: The message that brings the follower up to date; nil if it is.
    mutating func refreshed(_ refresh: CaseloadRefresh) -> WatcherMessage? {
        // The feed may be behind, and only the feed finds sessions that were created and processed meanwhile.
        message(differences(refresh), upTo: nil)
    }

    private mutating func differences(_ refresh: CaseloadRefresh) -> [CaseloadEvent] {
        var missing = reading.sessions
        reading = .none
        var removed = Set(refresh.lost)
        let (before, present) = (scope, refresh.caseload.scope)
        removed.formUnion(shown.sessions(outside: present))
        // The session was deleted, and the user has lost the right to its patient.
        for (session, patient) in deleted where before.contains(patient) && !present.contains(patient) {
            removed.insert(session)
        }
        scope = present
        scopeRead = refresh.caseload.position.snapshot
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
        // The session is processed or deleted: the next read shows which.
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

    /// The read of sessions that have changed while there was no room succeeded.
    ///
    /// - Parameters:
    ///   - changes: The answer.
    ///   - maySend: Whether there is room, and the right is confirmed.
    /// - Returns: The message to the follower; nil if there is none.
    mutating func caughtUp(_ changes: ProgressChanges, maySend: Bool) -> WatcherMessage? {
        guard maySend, !needsCaseload else {
            discardRead()
            return nil
        }
        return message(news(in: changes), upTo: nil)
    }

    private mutating func news(in changes: ProgressChanges) -> [CaseloadEvent] {
        let patients = reading.sessions
        reading = .none
        var events: [CaseloadEvent] = []
        for (progress, transitions) in changes.changed {
            guard let patient = patients[progress.sessionID] else { continue }
            events += shown.events(for: progress, of: patient, transitions: transitions)
        }
        // A client may still list a deleted session from an earlier connection.
        let gone = Set(changes.missing + changes.moved).intersection(shown.sessions).union(deleted.keys)
        for session in gone.sorted() {
            shown.remove(session)
            events.append(.removed(session))
        }
        deleted = [:]
        return events
    }
}
