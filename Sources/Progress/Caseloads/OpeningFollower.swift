import Domain
import Store

/// A follower whose caseload is not here yet: it collects what the feed finds meanwhile.
///
/// Goes to ``Follower``.
struct OpeningFollower {
    /// A session that has changed.
    struct Change {
        var patient: UserID
        /// The last transaction that is known to have changed it; nil for a percentage, which leaves no trace.
        var transaction: Int64?
    }

    private(set) var changed: [SessionID: Change] = [:]
    private(set) var deleted: [SessionID: UserID] = [:]
    /// The caseload may have been read before the feed began: what lies between would be missing.
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
