/// What the reactor keeps of a WebSocket beside its slot: how far its client's words are read, and whether it answers.
///
/// It decides and writes nothing.
struct WebSocketConversation {
    /// What a client's words want in return.
    enum Answer: Equatable {
        /// The same, said back.
        case pong([UInt8])
        /// The client's end is to be answered with ours.
        case close(UInt16?)
        /// The client is told what it did wrong, and the connection ends.
        case violation(WebSocketClose)

        /// Nothing is to be received after it.
        var isLast: Bool {
            if case .pong = self { false } else { true }
        }

        var isClose: Bool {
            if case .close = self { true } else { false }
        }
    }

    /// So many bytes a client may send in one window; who only watches sends pings and pongs.
    static let allowance = 1 << 20
    static let window = Tick.count(.seconds(60))
    /// What one read costs at least: bytes that come one by one take more time than those that come together.
    static let costOfRead = 64

    private var reader = ClientFrameReader()
    private var windowBegan: Tick
    private var spent: UInt32 = 0
    /// When the client is next asked whether it is there.
    var nextPing: Tick
    /// It was asked, and nothing was received of it since.
    var isAwaited = false
    /// The client has ended its side, or nothing that it says counts any more.
    private(set) var hasClientEnded = false
    /// Why the connection is over, once it is.
    private(set) var end = StreamEnd.ended
    /// The answer to the client's last ping, which waits for room.
    ///
    /// RFC 6455, 5.5.3: an endpoint that has not answered yet "MAY elect to send a Pong frame for only the most recently
    /// processed Ping frame".
    var pong: Frame?

    init(now: Tick, nextPing: Tick) {
        windowBegan = now
        self.nextPing = nextPing
    }

    /// Takes in what was read at once.
    ///
    /// - Parameter isOpen: The server has not ended its side.
    /// - Returns: The last of the answers that it wants.
    mutating func receive(_ bytes: Span<UInt8>, at now: Tick, isOpen: Bool) -> Answer? {
        isAwaited = false
        if windowBegan + Self.window <= now { (windowBegan, spent) = (now, 0) }
        spent = min(spent, UInt32(Self.allowance)) + UInt32(max(bytes.count, Self.costOfRead))
        guard spent <= Self.allowance else { return stop(.violation(.tooMuch), isOpen ? .violation : nil) }
        var answer: Answer?
        for event in reader.read(bytes) {
            switch event {
            case .ping(let payload): answer = .pong(payload)
            case .pong, .message: break
            case .close(let code): answer = stop(.close(code), isOpen ? .clientClosed : nil)
            case .violation(let close): answer = stop(.violation(close), isOpen ? .violation : nil)
            }
        }
        return answer
    }

    private mutating func stop(_ answer: Answer, _ end: StreamEnd?) -> Answer {
        hasClientEnded = true
        if let end { self.end = end }
        return answer
    }
}
