import Domain
import Store

/// The sessions that a follower was shown and that may still change, and for a while also those that are done: another read
/// may find them once more.
struct ShownSessions {
    /// What a follower was last told of a session.
    private struct Entry {
        var patient: UserID
        var version: Int64
        var status: SessionStatus
    }

    private var entries: [SessionID: Entry] = [:]
    /// After so many reads of the feed, the sessions that are done are forgotten; 0 when none of those is here.
    private var readsToForget = 0

    /// - Parameter caseload: What the follower begins with.
    init(_ caseload: Caseload) {
        for (patient, progress) in caseload.sessions { show(progress, of: patient) }
    }

    var isEmpty: Bool { entries.isEmpty }
    var sessions: some Collection<SessionID> { entries.keys }
    var versions: [SessionID: Int64] { entries.mapValues(\.version) }

    func contains(_ session: SessionID) -> Bool { entries[session] != nil }

    /// The sessions whose patients are not in a scope.
    func sessions(outside scope: CaseloadScope) -> [SessionID] {
        entries.filter { !scope.contains($0.value.patient) }.map(\.key)
    }

    /// The sessions that are not done, with their patients.
    var unfinished: [SessionID: UserID] { entries.filter { $0.value.status != .processed }.mapValues(\.patient) }

    mutating func remove(_ session: SessionID) { entries[session] = nil }

    private mutating func show(_ progress: SessionProgress, of patient: UserID) {
        entries[progress.sessionID] = Entry(patient: patient, version: progress.version, status: progress.status)
    }

    /// The events that bring a follower from what it was shown to a state, which is shown by that.
    ///
    /// - Parameter transitions: Those since what was shown, at least; nil where they are not known, as for a session that
    ///   was not shown before.
    mutating func events(
        for progress: SessionProgress, of patient: UserID, transitions: [StatusTransition]?
    ) -> [CaseloadEvent] {
        let session = progress.sessionID
        let known = entries[session]
        guard progress.version > known?.version ?? 0 else { return [] }
        show(progress, of: patient)
        if progress.status == .processed { readsToForget = 2 }
        let missed = (transitions ?? []).filter { $0.version > known?.version ?? 0 && $0.version < progress.version }
        // A session that is new to the follower begins with its first state, if that is among the transitions.
        guard known != nil || missed.first?.version == 1 else { return [.added(progress)] }
        var events: [CaseloadEvent] = []
        var status = known?.status
        for transition in missed {
            let passed = transition.progress(of: session, createdAt: progress.createdAt)
            events.append(passed.begins(after: status) ? .added(passed) : .passed(passed))
            status = transition.status
        }
        events.append(progress.begins(after: status) ? .added(progress) : .state(progress))
        return events
    }

    /// A read of the feed came back, and the follower missed nothing.
    ///
    /// A read that was under way when a session was told as done may bring it once more, and the next one too; after that,
    /// the session is not needed any more.
    mutating func feedCame() {
        guard readsToForget > 0 else { return }
        readsToForget -= 1
        if readsToForget == 0 { entries = entries.filter { $0.value.status != .processed } }
    }
}
