public import Store

/// The answer to a request for the stream of one session.
public enum SubscribeOutcome: Sendable {
    /// The user may see the session. The stream begins with this state, and the sink gets everything newer.
    ///
    /// The watch is nil if the session is finished, because nothing newer follows.
    case subscribed(SessionAuthorization, Watch?)
    /// The user may not see the session.
    case refused(SessionAuthorization.Verdict)
    /// A limit is reached, or the server stops.
    case rejected(Rejection)
}

/// The answer to a request for the stream of all sessions.
public enum SubscribeToAllOutcome: Sendable {
    /// The stream begins with these events. The positions are those before them (the client's) and after them.
    case subscribed(Watch, [CaseloadEvent], before: FeedPosition?, after: FeedPosition)
    /// The user may not have this stream.
    case refused(SessionAuthorization.Verdict)
    /// A limit is reached, or the server stops.
    case rejected(Rejection)
}

/// The reason for which the hub rejects a stream that the user has a right to.
public enum Rejection: String, Sendable {
    /// The limit of streams, of this user's streams, or of pending subscriptions is reached.
    case tooMany = "too many streams"
    /// The server stops.
    case closing = "shutting down"
}
