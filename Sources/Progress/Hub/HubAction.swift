import Domain

/// What the hub's actor has to do.
enum HubAction {
    /// Give a message to the sink, and give the result to ``HubStateMachine/delivered(_:_:)``.
    case deliver(Delivery)
    /// Give a state to a local subscriber.
    case update(WatcherID, SessionProgress)
    /// End a local subscriber: its session does not exist.
    case finish(WatcherID)
    /// Answer a caller that waits for its subscription.
    case answer(WatcherID, PendingSubscriptions.Outcome)
    /// Count changes that only the poll has found.
    case foundByPoll(Int)
    /// Count a change that the messages before contain.
    case shown(ShownChange)
    /// Record how long a resync took.
    case resynced(after: Duration)
}
