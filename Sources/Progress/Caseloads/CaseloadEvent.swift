public import Domain
import Store

/// An event of the stream of all sessions.
public enum CaseloadEvent: Sendable, Equatable {
    /// The present state of a session.
    case state(SessionProgress)
    /// A transition before the present state.
    case passed(SessionProgress)
    /// A session was created, retried, or assigned.
    case added(SessionProgress)
    /// A session was deleted, or the user has lost the right to it.
    case removed(SessionID)
    /// The client has the whole present caseload.
    case ready

    /// The state in the event; nil if it has none.
    var progress: SessionProgress? {
        switch self {
        case .state(let progress), .passed(let progress), .added(let progress): progress
        case .removed, .ready: nil
        }
    }
}

extension SessionProgress {
    /// Whether a session begins with this state: it was created or retried.
    func begins(after status: SessionStatus?) -> Bool {
        status == nil || status?.isFinished == true && self.status == .pending
    }
}

extension MissedChanges {
    /// The events that a client has missed, which the hub sends before the caseload.
    func events(before caseload: Caseload) -> [CaseloadEvent] {
        let present = Dictionary(
            uniqueKeysWithValues: caseload.sessions.map { ($0.progress.sessionID, $0.progress.version) })
        var statuses: [SessionID: SessionStatus] = [:]
        var events: [CaseloadEvent] = deleted.map { .removed($0) }
        for progress in transitions {
            let before = statuses.updateValue(progress.status, forKey: progress.sessionID)
            // The present state follows with the caseload, unless the session is processed.
            if present[progress.sessionID] == progress.version { continue }
            if progress.version == 1 || before?.isFinished == true && progress.status == .pending {
                events.append(.added(progress))
            } else {
                events.append(progress.status == .processed ? .state(progress) : .passed(progress))
            }
        }
        return events
    }
}
