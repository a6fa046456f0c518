import Domain
import Store

/// A follower whose caseload is being read.
///
/// What the feed finds meanwhile is in ``CollectedChanges``. Goes to ``Follower``.
struct PendingFollower {
    /// The number of the feed's answers before the follower registered: later ones concern it.
    let answersBefore: Int
    /// Whether the caseload may have been read before the feed began.
    ///
    /// What lies between would be missing.
    var predatesFeed = false
}
