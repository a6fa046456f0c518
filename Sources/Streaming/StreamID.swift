/// Identifies one stream for as long as the process runs.
public struct StreamID: Hashable, Sendable {
    /// The stream's entry in the reactor's table.
    public let slot: UInt32
    /// The number of streams that had this slot before.
    public let generation: UInt32

    /// Makes the identifier of a stream.
    ///
    /// - Parameters:
    ///   - slot: The stream's entry in the reactor's table.
    ///   - generation: A number that no other stream in this slot has.
    public init(slot: UInt32, generation: UInt32) {
        self.slot = slot
        self.generation = generation
    }
}

/// How frames travel over a connection.
public enum StreamWire: UInt8, Sendable {
    /// As chunks of a response's body.
    case chunks
    /// As bare payloads, for a client of HTTP/1.0.
    case bare
    /// As frames of a WebSocket, whose texts are progress objects.
    ///
    /// A ``Frame`` already contains them.
    case webSocket
    /// As frames of a WebSocket, whose texts are events with their name and their id.
    case webSocketEvents

    /// True for both kinds of WebSockets.
    public var isWebSocket: Bool { self == .webSocket || self == .webSocketEvents }
}

/// What became of a frame that the reactor was asked to send.
public enum SendOutcome: Sendable, Equatable {
    /// The kernel has the whole frame.
    case sent
    /// The reactor sends the rest when the socket has room.
    ///
    /// Until then the stream takes no other frame.
    case started
    /// Another frame is unfinished.
    ///
    /// The reactor took nothing of this one.
    case refused
    /// The stream has ended.
    case gone
}

/// Why a stream ended.
public enum StreamEnd: String, Sendable {
    /// The server wrote the end, and the client read it or had the time to read it.
    case ended
    /// The client closed the connection, or its half of it.
    case clientClosed = "client_closed"
    /// The connection broke.
    case broken
    /// The client of a WebSocket broke the protocol or a limit of the server.
    case violation
    /// The client acknowledged nothing for too long.
    case stalled
    /// The server stopped and waited no longer.
    case shutdown
}
