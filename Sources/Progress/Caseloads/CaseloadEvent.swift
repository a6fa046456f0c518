public import Domain
import Store

/// An event of the stream of all sessions.
public enum CaseloadEvent: Sendable, Equatable {
    /// The present state of a session.
    case state(SessionProgress)
    /// A transition that lies behind the present state.
    case passed(SessionProgress)
    /// A session was made, retried, or assigned.
    case added(SessionProgress)
    /// A session was deleted or taken away.
    case removed(SessionID)
    /// The whole present caseload has been sent.
    case ready
}

extension SessionProgress {
    /// Whether a session begins with this state: when it is made, and again when it is retried.
    func begins(after status: SessionStatus?) -> Bool {
        status == nil || status == .failed && self.status == .pending
    }
}

extension MissedChanges {
    /// The events of what a client has missed, to be sent before its caseload.
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
