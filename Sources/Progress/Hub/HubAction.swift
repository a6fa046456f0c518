import Domain

/// Work for the hub's actor.
enum HubAction {
    /// Give a message to the sink, and tell ``HubStateMachine/delivered(_:_:)`` what became of it.
    case deliver(Delivery)
    /// Give a state to a local subscriber.
    case update(WatcherID, SessionProgress)
    /// End a local subscriber: its session does not exist.
    case finish(WatcherID)
    /// Answer to one that waits to be let in.
    case answer(WatcherID, Openings.Result)
    /// Count news that the poll alone has found.
    case foundByPoll(Int)
}
