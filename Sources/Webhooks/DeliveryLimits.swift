/// The limits of deliveries.
public struct DeliveryLimits: Sendable {
    /// How many deliveries to one endpoint a server works on at a time.
    ///
    /// With at most 50 endpoints, this also bounds all deliveries. An endpoint never waits for another one.
    public var lanes = 4
    /// How long a connection may take, for each address of the name.
    public var connect = Duration.seconds(5)
    /// How long an attempt may take: look-up, connection, request and answer.
    public var total = Duration.seconds(15)
    /// How many bytes of an answer's body are read, so that its connection can serve the next delivery.
    public var answerBytes = 65_536
    /// How many addresses of a name are tried.
    public var addresses = 4
    /// How long a claim stands.
    ///
    /// It is longer than an attempt: the result is stored in the rest, also if the database is away for a moment.
    public var lease = Duration.seconds(60)
    /// The pause between two looks into the outbox without a notification.
    public var idleInterval = Duration.seconds(5)
    /// The pause between two counts of the unfinished deliveries, for the metrics.
    public var countInterval = Duration.seconds(15)

    /// The limits of the program.
    public init() {}
}
