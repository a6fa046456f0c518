public import Domain
import Store

/// What the stream of all sessions says.
public enum CaseloadEvent: Sendable, Equatable {
    /// The present state of a session.
    case state(SessionProgress)
    /// A transition that lies behind the present state.
    case passed(SessionProgress)
    /// A session was made, retried, or assigned.
    case added(SessionProgress)
    /// A session was deleted or taken away.
    case removed(SessionID)
    /// Everything that there is at present has been said.
    case ready
}

/// One who follows all the sessions of a caseload.
///
/// Who has no room, or whose rights have to be read again, collects here which sessions have changed meanwhile, and what
/// they have come to is read when it can be said.
struct Follower {
    /// What the follower was last told of a session.
    struct Given {
        var patient: UserID
        var version: Int64
        var status: SessionStatus

        init(_ progress: SessionProgress, of patient: UserID) {
            self.patient = patient
            version = progress.version
            status = progress.status
        }
    }

    var scope = CaseloadScope.patients([])
    /// The sessions that were shown and may still change, and for a while also those that are done: another read may find
    /// them once more.
    var given: [SessionID: Given] = [:]
    /// The sessions that have changed while there was no room, with their patients.
    var behind: [SessionID: UserID] = [:]
    /// Those that were deleted meanwhile.
    var deleted: [SessionID: UserID] = [:]
    /// For who is still opening, the last transaction of those that changed a session.
    var heard: [SessionID: Int64] = [:]
    /// After so many reads of the feed, what is done is forgotten; 0 when nothing that is done is kept.
    var readsToForget = 0
    /// The snapshot in which its sessions were first listed.
    var listed: FeedPosition?
    /// Everything committed up to here was said.
    var position: FeedPosition?
    /// The caseload may have been read before the feed began.
    var isTooEarly = false
    /// The caseload is to be read again before anything is said.
    var needsReopening = false
    /// The caseload is being read again.
    var isReopening = false
    /// Of the sessions that have changed, those that are being read; nil when none are.
    var catchingUp: [SessionID: UserID]?

    var isBehind: Bool { !behind.isEmpty || !deleted.isEmpty || catchingUp != nil }

    /// Whether a session is none of the follower's business: it was not shown, and did not change since all were first listed.
    ///
    /// It was done before. The feed may bring it nevertheless: its read may have begun earlier, or end earlier.
    func isPast(_ session: SessionID, changedBy transaction: Int64?) -> Bool {
        guard given[session] == nil, behind[session] == nil, catchingUp?[session] == nil, let listed else {
            return false
        }
        return transaction.map(listed.shows) ?? true
    }

    /// What was to be read was not.
    mutating func giveBack() {
        behind.merge(catchingUp ?? [:]) { present, _ in present }
        catchingUp = nil
    }

    /// A read of the feed came back.
    ///
    /// One that was under way when something was told as done may bring it once more, and the next one too; after that, and
    /// when nothing is missing, what is done is not needed any more.
    mutating func feedCame() {
        guard readsToForget > 0, !isBehind else { return }
        readsToForget -= 1
        if readsToForget == 0 { given = given.filter { $0.value.status != .processed } }
    }

    /// The events that bring the follower from what it was given to a state, and notes that it was given that.
    ///
    /// - Parameters:
    ///   - transitions: Those since what was given, at least; nil where they are not known, as for a session that was not
    ///     shown before.
    mutating func events(
        for progress: SessionProgress, of patient: UserID, transitions: [StatusTransition]?
    ) -> [CaseloadEvent] {
        let session = progress.sessionID
        let known = given[session]
        guard progress.version > known?.version ?? 0 else { return [] }
        given[session] = Given(progress, of: patient)
        if progress.status == .processed { readsToForget = 2 }
        let missed = (transitions ?? []).filter { $0.version > known?.version ?? 0 && $0.version < progress.version }
        // A session that is new to the follower begins with its first state, if that is among what is said.
        guard known != nil || missed.first?.version == 1 else { return [.added(progress)] }
        var events: [CaseloadEvent] = []
        var status = known?.status
        for transition in missed {
            let passed = transition.progress(of: session, createdAt: progress.createdAt)
            events.append(Self.isBeginning(after: status, passed) ? .added(passed) : .passed(passed))
            status = transition.status
        }
        events.append(Self.isBeginning(after: status, progress) ? .added(progress) : .state(progress))
        return events
    }

    /// A session begins when it is made, and again when it is retried.
    static func isBeginning(after status: SessionStatus?, _ progress: SessionProgress) -> Bool {
        status == nil || status == .failed && progress.status == .pending
    }
}

/// What was committed is read once for all followers, from one position to the next.
struct Feed {
    struct Session {
        var version: Int64
        var pause = HubStateMachine.Pause.none
    }

    /// Everything committed up to here was passed on; nil before the first follower.
    var cursor: FeedPosition?
    var isWanted = false
    /// Sessions of which only a hint knows that they have changed: percentages leave no trace.
    var hinted: Set<SessionID> = []
    var underWay: [SessionID]?
    /// The read under way is for followers who are gone.
    var isStale = false
    /// What is known of the sessions that are not done.
    var sessions: [SessionID: Session] = [:]
}

/// Work for one follower.
struct FollowerRequest: Sendable {
    var watcher: WatcherID
    var principal: Principal
    /// Whose sessions the follower has been shown; nil for everybody's.
    var patients: Set<UserID>?
    /// What the follower was given.
    var versions: [SessionID: Int64]
    /// The sessions that have changed: those to read, for a catch-up.
    var sessions: [SessionID] = []
}

/// The answer to a ``FollowerRequest`` for the caseload.
struct Reopening: Sendable {
    var caseload: Caseload
    /// For the sessions that are newer than what the follower was given, the transitions since.
    var transitions: [SessionID: [StatusTransition]] = [:]
    /// The sessions of patients who were taken away, and those that were given to others.
    var lost: [SessionID] = []
}

extension Reopening {
    /// The sessions whose transitions are wanted, each with the version after which.
    ///
    /// Of a session that was made meanwhile, all are.
    static func newer(
        in caseload: Caseload, for request: FollowerRequest
    ) -> [(session: SessionID, version: Int64)] {
        caseload.sessions.compactMap { patient, progress in
            let isOwn = request.patients?.contains(patient) ?? true
            guard let version = request.versions[progress.sessionID] ?? (isOwn ? 0 : nil), version < progress.version
            else { return nil }
            return (progress.sessionID, version)
        }
    }
}

extension MissedChanges {
    /// The events of what a client has missed, to be said before its caseload.
    func events(before caseload: Caseload) -> [CaseloadEvent] {
        let present = Dictionary(
            uniqueKeysWithValues: caseload.sessions.map { ($0.progress.sessionID, $0.progress.version) })
        var statuses: [SessionID: SessionStatus] = [:]
        var events: [CaseloadEvent] = deleted.map { .removed($0) }
        for progress in transitions {
            let before = statuses.updateValue(progress.status, forKey: progress.sessionID)
            // The present state follows by itself, if the session is not done.
            if present[progress.sessionID] == progress.version { continue }
            if progress.version == 1 || before == .failed && progress.status == .pending {
                events.append(.added(progress))
            } else {
                events.append(progress.status == .processed ? .state(progress) : .passed(progress))
            }
        }
        return events
    }
}
