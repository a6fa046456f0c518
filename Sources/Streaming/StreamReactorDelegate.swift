/// Decides what the reactor sends, and when a stream ends.
///
/// The reactor calls it on its own thread. The reactor's methods `adopt`, `end` and `finish` may call it before they
/// return.
public protocol StreamReactorDelegate: AnyObject, Sendable {
    /// A heartbeat, a ping or a pong found no room in the socket.
    ///
    /// - Parameter id: The stream.
    func streamFilled(_ id: StreamID)

    /// The socket has room again, and the stream takes frames.
    ///
    /// - Parameter id: The stream.
    func streamDrained(_ id: StreamID)

    /// The access token of a stream expired.
    ///
    /// The delegate ends the stream with ``StreamReactor/end(_:with:beginsNoOther:)``.
    ///
    /// - Parameter id: The stream.
    func streamExpired(_ id: StreamID)

    /// A stream reached its maximum lifetime.
    ///
    /// The delegate ends the stream with ``StreamReactor/end(_:with:beginsNoOther:)``.
    ///
    /// - Parameter id: The stream.
    func streamOutlived(_ id: StreamID)

    /// The client of a WebSocket ends the stream, or the reactor ends it because of a violation.
    ///
    /// The stream takes no more frames. Its slot is free after ``streamClosed(_:)``.
    ///
    /// - Parameter id: The stream.
    func streamLeaving(_ id: StreamID)

    /// The stream ended, and its slot is free.
    ///
    /// - Parameter id: The stream.
    func streamClosed(_ id: StreamID)
}
