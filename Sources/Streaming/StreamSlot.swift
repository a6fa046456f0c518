/// One stream in the reactor's table.
struct StreamSlot {
    enum Phase: UInt8 {
        /// No stream has this slot.
        case free
        /// The stream takes frames. → ending, free
        case open
        /// The reactor writes the last frame. → lingering, free
        case ending
        /// Everything is written, and the client has a moment to read it. → free
        ///
        /// The server's half of the connection is shut. For a WebSocket, the server first waits for the client's Close
        /// frame. RFC 9112, 9.6: a server that closes with unread input risks a reset that destroys what it sent, so it
        /// closes its half and "continues to read from the connection until it receives a corresponding close".
        case lingering
    }

    /// What a stream needs now.
    enum Due {
        /// The access token expired.
        case expired
        /// The stream reached its maximum lifetime.
        case outlived
        /// The client acknowledged nothing for too long.
        case stalled
        /// The time to read the end is over.
        case lingered
        /// The stream was silent long enough for a heartbeat or a ping.
        case signOfLife
    }

    /// How long a client may acknowledge nothing before the reactor closes its stream, in ticks.
    static let stallTimeout = Tick.count(.seconds(60))
    /// How long a client has to read the end, in ticks.
    static let lingering = Tick.count(.seconds(1))

    var output: StreamOutput
    private(set) var phase = Phase.free
    let generation: UInt32
    let openedAt: Tick
    private var expiresAt = Tick.never
    private var livesUntil = Tick.never
    /// The one deadline in ``StreamDeadlines`` that counts.
    ///
    /// Other entries of this slot are out of date.
    var scheduledFor = Tick.never

    /// Makes a slot without a stream.
    init(freeAfter generation: UInt32 = 0) {
        output = StreamOutput(descriptor: -1, wire: .chunks, now: .never)
        self.generation = generation
        openedAt = .never
    }

    /// Makes the slot of an open stream.
    init(
        _ descriptor: CInt, _ wire: StreamWire, generation: UInt32, now: Tick, expiresAt: Tick, livesUntil: Tick
    ) {
        output = StreamOutput(descriptor: descriptor, wire: wire, now: now)
        phase = .open
        self.generation = generation
        openedAt = now
        self.expiresAt = expiresAt
        self.livesUntil = livesUntil
    }

    /// Begins the end: the stream takes no more frames.
    ///
    /// - Parameters:
    ///   - last: The frame to end with, if it is not written yet.
    ///   - now: The present moment.
    mutating func end(with last: Frame?, now: Tick) {
        phase = .ending
        output.end(with: last, now: now)
    }

    /// Begins to wait for the client to read the end.
    mutating func linger(now: Tick) {
        phase = .lingering
        output.linger(now: now)
    }

    /// The moment at which the stream is due next.
    ///
    /// - Parameter signOfLife: The moment of the next heartbeat or ping.
    /// - Returns: The moment; `never` for a free slot.
    func nextDue(signOfLife: Tick) -> Tick {
        switch phase {
        case .free: .never
        case .lingering: output.waitingSince + Self.lingering
        case .ending: output.waitingSince + Self.stallTimeout
        case .open:
            min(expiresAt, livesUntil, output.isBlocked ? output.waitingSince + Self.stallTimeout : signOfLife)
        }
    }

    /// Takes what is due now, if anything is.
    ///
    /// A token expires once, and a lifetime is over once. A delegate that lets the stream live is not asked again.
    ///
    /// - Parameters:
    ///   - now: The present moment.
    ///   - signOfLife: The moment of the next heartbeat or ping.
    /// - Returns: What the stream needs; nil if nothing is due.
    mutating func takeDue(now: Tick, signOfLife: Tick) -> Due? {
        switch phase {
        case .free: return nil
        case .lingering: return now >= output.waitingSince + Self.lingering ? .lingered : nil
        case .ending: return now >= output.waitingSince + Self.stallTimeout ? .stalled : nil
        case .open:
            if now >= expiresAt {
                expiresAt = .never
                return .expired
            }
            if now >= livesUntil {
                livesUntil = .never
                return .outlived
            }
            if output.isBlocked { return now >= output.waitingSince + Self.stallTimeout ? .stalled : nil }
            return now >= signOfLife ? .signOfLife : nil
        }
    }
}
