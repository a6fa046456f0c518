import Domain
import Store

/// A follower whose caseload is being read: it collects what the feed finds meanwhile.
///
/// Goes to ``Follower``.
struct PendingFollower {
    /// A change of a session.
    struct Change {
        var patient: UserID
        /// The last transaction that is known to have changed the session; nil for a percentage, which leaves no trace.
        var transaction: Int64?
    }

    private(set) var changed: [SessionID: Change] = [:]
    private(set) var deleted: [SessionID: UserID] = [:]
    /// Whether the caseload may have been read before the feed began.
    ///
    /// What lies between would be missing.
    var predatesFeed = false

    mutating func collect(_ changes: FeedChanges) {
        for item in changes.items {
            let session = item.progress.sessionID
            changed[session] = Change(
                patient: item.patient, transaction: item.transaction ?? changed[session]?.transaction)
        }
        for (session, patient) in changes.deleted { deleted[session] = patient }
    }
}
