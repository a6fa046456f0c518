import Domain
import Store

/// The sessions that a follower was shown and that may still change.
///
/// A processed session stays for two more reads of the feed, because these may find it once more.
struct ShownSessions {
    /// The state of a session that a follower was sent last.
    private struct Entry {
        var patient: UserID
        var version: Int64
        var status: SessionStatus
    }

    private var entries: [SessionID: Entry] = [:]
    /// The number of reads of the feed after which processed sessions are removed; 0 if there are none.
    private var readsToForget = 0

    /// - Parameter caseload: The caseload that the follower begins with.
    init(_ caseload: Caseload) {
        for (patient, progress) in caseload.sessions { show(progress, of: patient) }
    }

    var isEmpty: Bool { entries.isEmpty }
    /// Whether processed sessions wait for reads of the feed, after which they are removed.
    var isForgetting: Bool { readsToForget > 0 }
    var sessions: some Collection<SessionID> { entries.keys }
    var versions: [SessionID: Int64] { entries.mapValues(\.version) }

    func contains(_ session: SessionID) -> Bool { entries[session] != nil }

    /// The sessions of patients outside a scope.
    func sessions(outside scope: CaseloadScope) -> [SessionID] {
        entries.filter { !scope.contains($0.value.patient) }.map(\.key)
    }

    /// The sessions that are not processed, with their patients.
    var unfinished: [SessionID: UserID] { entries.filter { $0.value.status != .processed }.mapValues(\.patient) }

    mutating func remove(_ session: SessionID) { entries[session] = nil }

    private mutating func show(_ progress: SessionProgress, of patient: UserID) {
        entries[progress.sessionID] = Entry(patient: patient, version: progress.version, status: progress.status)
    }

    /// Shows a state to a follower.
    ///
    /// - Parameters:
    ///   - progress: The state.
    ///   - patient: The patient of the session.
    ///   - transitions: At least the transitions after the state that was shown before; nil if they are not known, as for a
    ///     session that was not shown before.
    /// - Returns: The events that bring the follower to the state.
    mutating func events(
        for progress: SessionProgress, of patient: UserID, transitions: [StatusTransition]?
    ) -> [CaseloadEvent] {
        let session = progress.sessionID
        let known = entries[session]
        guard progress.version > known?.version ?? 0 else { return [] }
        show(progress, of: patient)
        if progress.status == .processed { readsToForget = 2 }
        let missed = (transitions ?? []).filter { $0.version > known?.version ?? 0 && $0.version < progress.version }
        // A session that was not shown before begins with its first state, if that is among the transitions.
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

    /// A read of the feed succeeded, and the follower has missed nothing.
    ///
    /// The read that is under way when a session is shown as processed may find the session once more, and the next read may
    /// as well. After that, no read finds it.
    mutating func feedSucceeded() {
        guard readsToForget > 0 else { return }
        readsToForget -= 1
        if readsToForget == 0 { entries = entries.filter { $0.value.status != .processed } }
    }
}
