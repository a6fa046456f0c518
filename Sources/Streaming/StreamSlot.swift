/// Names one stream for as long as the process runs: its slot, and which of the streams that had this slot it is.
public struct StreamID: Hashable, Sendable {
    public let slot: UInt32
    public let generation: UInt32

    public init(slot: UInt32, generation: UInt32) {
        self.slot = slot
        self.generation = generation
    }
}

/// Why a stream is over.
public enum StreamEnd: String, Sendable {
    /// The server wrote the end, and the client has read it or was given the time to.
    case ended
    /// The client has closed the connection, or its half of it.
    case clientClosed = "client_closed"
    /// The connection broke.
    case broken
    /// The client of a WebSocket did what the protocol or we forbid.
    case violation
    /// The client has acknowledged nothing for too long.
    case stalled
    /// The server stops, and could not wait any longer.
    case shutdown
}

/// How frames go over a connection.
public enum StreamWire: UInt8, Sendable {
    /// As chunks of a response's body.
    case chunks
    /// Their payloads alone, for a client of HTTP/1.0.
    case bare
    /// As frames of a WebSocket, which are in them already.
    case webSocket
}

/// What became of a frame that was to be sent.
public enum SendOutcome: Sendable, Equatable {
    /// It is with the kernel, whole.
    case sent
    /// It goes out as soon as the socket has room, and until then the stream takes no other frame.
    case started
    /// Another frame is unfinished, and nothing of this one was taken.
    case refused
    /// There is no such stream any more.
    case gone
}

/// One stream in the reactor's table.
///
/// At most one frame is unfinished at any time: what a slow client misses is not kept here but read again when there
/// is room.
struct StreamSlot {
    enum Phase: UInt8 {
        /// No stream has this slot.
        case free
        /// Frames are taken; goes to ``ending`` or ``free``.
        case open
        /// The last frame is being written; goes to ``lingering`` or ``free``.
        case ending
        /// Everything is written, and our half of the connection is shut: the client gets the time to read it. The client of a
        /// WebSocket gets the time to end its side first.
        ///
        /// RFC 9112, 9.6: a server that closes with unread input risks a reset that destroys what it sent, so it closes
        /// its half and "continues to read from the connection until it receives a corresponding close". Goes to
        /// ``free``.
        case lingering
    }

    var descriptor: CInt = -1
    var generation: UInt32 = 0
    var phase = Phase.free
    var wire = StreamWire.chunks
    /// The socket has no room.
    var isBlocked = false
    /// What is left of a frame, from ``offset`` on.
    var unfinished: Frame?
    /// The frame to end with, once the unfinished one is out.
    var last: Frame?
    var offset: UInt32 = 0
    var framesSent: UInt32 = 0

    var openedAt = Tick.never
    /// When something was last written: heartbeats count from here.
    var lastWrite = Tick.never
    /// Since when the socket has had no room, or what is left to write has not moved, or the client lingers.
    var waitingSince = Tick.never
    var expiresAt = Tick.never
    var livesUntil = Tick.never
    /// The deadline in the heap that counts; others that name this slot are out of date.
    var scheduledFor = Tick.never
}
