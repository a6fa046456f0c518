import Domain
import Store

/// Finds the watchers that a change of rights concerns.
///
/// A change looks only at the lists that it names. The cost of a stranger's change therefore does not grow with the number of
/// watchers.
protocol ConcernIndex {
    /// All watchers with a user that may still get a message.
    var watchersWithUser: [WatcherID] { get }

    /// The watchers of a user that may still get a message.
    func watchers(of user: UserID) -> [WatcherID]

    /// The watchers of a session, including local subscribers.
    func watchers(of session: SessionID) -> [WatcherID]

    /// The followers that may see the sessions of a patient, and those whose caseloads are being read.
    func followers(of patient: UserID) -> [WatcherID]

    /// The user of a watcher that may still get a message; nil for any other.
    func principal(of id: WatcherID) -> Principal?
}

extension RightsChange {
    /// The watchers that this change concerns.
    func concerned(in index: some ConcernIndex) -> [WatcherID] {
        if let user {
            let watchers = index.watchers(of: user)
            guard let signIn else { return watchers }
            return watchers.filter { index.principal(of: $0)?.signIn == signIn }
        }
        guard session != nil || patient != nil else { return index.watchersWithUser }
        return (session.map(index.watchers(of:)) ?? []).filter { index.principal(of: $0) != nil }
            + (patient.map(index.followers(of:)) ?? [])
    }
}
