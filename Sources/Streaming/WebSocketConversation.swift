/// The state of a WebSocket that its slot does not hold: what the client sent, and whether it answers pings.
///
/// It only decides; the reactor writes. Most streams are not WebSockets. The reactor therefore keeps these values in a
/// table of their own.
struct WebSocketConversation {
    /// What the client's frames ask for.
    enum Answer: Equatable {
        /// A pong with this payload.
        case pong([UInt8])
        /// A Close frame, because the client sent one with this code.
        case close(UInt16?)
        /// A Close frame, because the client broke the protocol or a limit.
        case violation(WebSocketClose)

        /// Whether nothing is received after it.
        var isLast: Bool {
            if case .pong = self { false } else { true }
        }

        var isClose: Bool {
            if case .close = self { true } else { false }
        }
    }

    /// What the reactor does for an answer.
    enum Reply {
        /// Nothing.
        case nothing
        /// Send the pong.
        case sendPong
        /// End the stream with this frame.
        case end(Frame)
        /// Shut the server's half of the connection.
        case shutDownSending
        /// Close the connection without a frame.
        case cut(StreamEnd)
    }

    /// How many bytes a client may send in one ``window``.
    ///
    /// A client that only watches sends pings and pongs.
    static let allowance = 1 << 20
    /// The time for which an ``allowance`` counts, in ticks.
    static let window = Tick.count(.seconds(60))
    /// How many bytes one read costs at least, because many small reads take more time than one large one.
    static let costOfRead = 64

    private var reader = ClientFrameReader()
    private var windowBegan: Tick
    private var spent: UInt32 = 0
    /// The moment of the next ping.
    private(set) var nextPing: Tick
    /// Whether the client sent nothing since the last ping.
    private(set) var isAwaited = false
    /// Whether the client has ended its side, or broken a rule.
    ///
    /// Nothing that it sends counts any more.
    private(set) var hasClientEnded = false
    /// Why the connection is over, once it is.
    private(set) var end = StreamEnd.ended
    /// The answer to the client's last ping, which waits for room.
    ///
    /// RFC 6455, 5.5.3: an endpoint that has not answered yet "MAY elect to send a Pong frame for only the most
    /// recently processed Ping frame".
    private(set) var pong: Frame?

    init(now: Tick, nextPing: Tick) {
        windowBegan = now
        self.nextPing = nextPing
    }

    // MARK: What the client sends

    /// Takes the bytes of one read.
    ///
    /// - Parameters:
    ///   - bytes: What the client sent.
    ///   - now: The present moment.
    ///   - isOpen: Whether the server has not ended its side.
    /// - Returns: The last answer that the bytes ask for; nil if they ask for none.
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

    /// Decides what the reactor does for an answer.
    ///
    /// - Parameters:
    ///   - answer: What the client's frames ask for.
    ///   - phase: The phase of the stream.
    ///   - isBlocked: Whether the socket has no room.
    /// - Returns: What to do.
    mutating func reply(to answer: Answer, in phase: StreamSlot.Phase, isBlocked: Bool) -> Reply {
        switch (answer, phase) {
        case (.pong(let payload), .open):
            pong = Frame(webSocketFrames: WebSocketFrame.pong(payload))
            return isBlocked ? .nothing : .sendPong
        case (.close(let code), .open): return .end(Frame(webSocketFrames: WebSocketFrame.close(echoing: code)))
        // RFC 6455, 7.1.1: after both sides have sent a Close frame, the server closes first, by "shutdown() with
        // SHUT_WR".
        case (.close, .lingering): return .shutDownSending
        case (.violation(let close), .open):
            // Without room for a Close frame the client gets none.
            return isBlocked ? .cut(.violation) : .end(Frame(webSocketFrames: WebSocketFrame.close(close)))
        case (.violation, .ending): return .cut(end)
        case (.pong, _), (.close, _), (.violation, _): return .nothing
        }
    }

    // MARK: What the server sends

    /// Decides whether to send a ping.
    ///
    /// - Parameters:
    ///   - now: The present moment.
    ///   - interval: The time until the next ping, in ticks.
    /// - Returns: False if the client has sent nothing since the last ping. The reactor then closes the stream.
    mutating func ping(now: Tick, interval: Int) -> Bool {
        guard !isAwaited else { return false }
        isAwaited = true
        nextPing = now + interval
        return true
    }

    /// The socket has room again.
    ///
    /// While the socket had no room, a ping may not have reached the client. The server therefore stops waiting for the
    /// answer.
    mutating func becomeWritable() { isAwaited = false }

    /// Takes the pong that waits; nil if none does.
    mutating func takePong() -> Frame? { pong.take() }
}
