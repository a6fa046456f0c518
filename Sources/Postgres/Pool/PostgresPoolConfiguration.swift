/// How a pool behaves.
public struct PostgresPoolConfiguration: Sendable {
    /// How many connections there are at most, those being opened or closed included; 8.
    public var size: Int

    /// How many callers may wait for a connection, 16,384; one more is refused at once.
    public var maximumWaiters: Int

    /// For how long a caller waits for a connection; 5 s.
    public var waitTimeout: Duration

    /// After how long unused a connection is checked before it is lent; 30 s.
    public var checkAfter: Duration

    /// How long that check may take; 2 s.
    public var checkTimeout: Duration

    /// After how long unused a connection is closed; 10 min.
    ///
    /// Nil keeps it.
    public var idleTimeout: Duration?

    /// At what age a connection is closed, give or take a tenth, so that they do not all end at once; 1 h.
    public var maximumAge: Duration

    /// For how long the shutdown waits for connections that are lent; 10 s.
    public var shutdownTimeout: Duration

    /// Makes a configuration.
    ///
    /// - Parameters:
    ///   - size: how many connections there are at most.
    ///   - waitTimeout: for how long a caller waits for one.
    public init(size: Int = 8, waitTimeout: Duration = .seconds(5)) {
        precondition(size > 0, "a pool needs at least one connection")
        self.size = size
        self.maximumWaiters = 16_384
        self.waitTimeout = waitTimeout
        self.checkAfter = .seconds(30)
        self.checkTimeout = .seconds(2)
        self.idleTimeout = .seconds(600)
        self.maximumAge = .seconds(3600)
        self.shutdownTimeout = .seconds(10)
    }
}

/// What a pool is doing.
public struct PostgresPoolStatistics: Hashable, Sendable {
    /// Connections that are open.
    public var open = 0
    /// Open connections that nobody uses.
    public var idle = 0
    /// Connections that are lent.
    public var lent = 0
    /// Connections that are being opened.
    public var connecting = 0
    /// Callers that wait.
    public var waiting = 0
    /// Connections opened since the start.
    public var openedTotal = 0
    /// Attempts to connect that failed since the start.
    public var connectFailuresTotal = 0
    /// Loans since the start.
    public var loansTotal = 0
    /// Callers since the start that got no connection in time, or were too many.
    public var exhaustedTotal = 0
}
