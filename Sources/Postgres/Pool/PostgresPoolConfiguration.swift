/// The limits and times of a pool.
public struct PostgresPoolConfiguration: Sendable {
    /// How many connections there are at most, those that are being opened or closed included; 8.
    public var size: Int

    /// How many callers may wait for a connection; 16,384.
    ///
    /// The pool refuses one more at once.
    public var maximumWaiters: Int

    /// How long a caller waits for a connection; 5 s.
    public var waitTimeout: Duration

    /// How many callers of ``PostgresPool/contending(for:isolation:_:)`` with one key run at the same time.
    ///
    /// Nil is two, or one if there are fewer than four ``contenders``.
    public var contendersOfKey: Int?

    /// How many callers of ``PostgresPool/contending(for:isolation:_:)`` run at the same time.
    ///
    /// Nil is half of the connections, at least one.
    public var contenders: Int?

    /// How long a caller of ``PostgresPool/contending(for:isolation:_:)`` waits for its turn; 2 s.
    public var contentionTimeout: Duration

    /// How long a connection may be unused before the pool checks it when it lends it; 30 s.
    public var checkAfter: Duration

    /// How long that check may take; 2 s.
    public var checkTimeout: Duration

    /// How long a connection may be unused before the pool closes it; 10 min.
    ///
    /// Nil keeps it.
    public var idleTimeout: Duration?

    /// The age at which the pool closes a connection; 1 h.
    ///
    /// The age of each connection differs by up to a tenth. Otherwise they would all end at once.
    public var maximumAge: Duration

    /// How long the shutdown waits for connections that are lent; 10 s.
    public var shutdownTimeout: Duration

    /// Makes a configuration.
    ///
    /// - Parameters:
    ///   - size: How many connections there are at most.
    ///   - waitTimeout: How long a caller waits for one.
    public init(size: Int = 8, waitTimeout: Duration = .seconds(5)) {
        precondition(size > 0, "a pool needs at least one connection")
        self.size = size
        self.maximumWaiters = 16_384
        self.waitTimeout = waitTimeout
        self.contendersOfKey = nil
        self.contenders = nil
        self.contentionTimeout = .seconds(2)
        self.checkAfter = .seconds(30)
        self.checkTimeout = .seconds(2)
        self.idleTimeout = .seconds(600)
        self.maximumAge = .seconds(3600)
        self.shutdownTimeout = .seconds(10)
    }
}

/// The state and the counters of a pool.
public struct PostgresPoolStatistics: Hashable, Sendable {
    /// Connections that are open.
    public var open = 0
    /// Open connections that are not lent.
    public var idle = 0
    /// Connections that are lent.
    public var lent = 0
    /// Connections that are being opened.
    public var connecting = 0
    /// Callers that wait for a connection.
    public var waiting = 0
    /// Connections opened since the start.
    public var openedTotal = 0
    /// Attempts to connect that failed since the start.
    public var connectFailuresTotal = 0
    /// Loans since the start.
    public var loansTotal = 0
    /// Callers since the start that got no connection in time, or that the pool refused because too many waited.
    public var exhaustedTotal = 0
}
