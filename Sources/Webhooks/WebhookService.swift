public import CoreMetrics
import Domain
public import Logging
public import Polling
public import ServiceLifecycle
public import Store

/// How deliveries leave the server.
///
/// A test replaces the parts.
public struct WebhookTransport: Sendable {
    /// Finds the addresses of names.
    public var resolver: any NameResolver = SystemResolver()
    /// A file of certificates to trust in place of the system's; nil for the system's.
    public var certificates: String?
    /// Times and numbers.
    public var limits = DeliveryLimits()

    /// The transport of the program.
    public init() {}
}

/// Sends the deliveries of the outbox to their endpoints.
///
/// Any number of servers share the outbox. A server claims a delivery, sends it, and stores the result. If the server dies between,
/// another one sends the delivery again under the same id: a receiver gets each delivery at least once.
///
/// Each endpoint has lanes of its own. A receiver that hangs delays no other one.
public struct WebhookService: Service {
    private let outbox: WebhookOutbox
    private let client: DeliveryClient
    private let limits: DeliveryLimits
    private let wakeUps: AsyncStream<Void>
    private let metrics: WebhookMetrics
    private let drainTime: Duration
    private let clock: any MonotonicClock
    private let logger: Logger

    /// A service that is ready to run.
    ///
    /// - Parameters:
    ///   - outbox: The outbox.
    ///   - settings: Where webhooks may go.
    ///   - transport: How deliveries leave the server.
    ///   - wakeUps: Yields when a delivery may be due. A lost element delays it by 5 seconds.
    ///   - drainTime: How long the deliveries under way may take to end after the graceful shutdown.
    ///   - clock: The clock of waits and limits.
    ///   - metrics: Takes the metrics.
    ///   - logger: Takes the log.
    public init(
        outbox: WebhookOutbox, settings: WebhookSettings, transport: WebhookTransport, wakeUps: AsyncStream<Void>,
        drainTime: Duration, clock: any MonotonicClock, metrics: any MetricsFactory, logger: Logger
    ) {
        self.outbox = outbox
        limits = transport.limits
        client = DeliveryClient(
            rules: settings.rules, resolver: transport.resolver, limits: transport.limits,
            clients: PinnedClients(limits: transport.limits, certificates: transport.certificates), clock: clock)
        self.wakeUps = wakeUps
        self.drainTime = drainTime
        self.clock = clock
        self.metrics = WebhookMetrics(factory: metrics)
        self.logger = logger
    }

    /// Delivers until the graceful shutdown.
    ///
    /// Then it ends the deliveries under way, and gives back those that take longer than `drainTime`.
    public func run() async throws {
        // An unread look stands for all later ones.
        let (looks, look) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        look.yield()
        let desk = DeliveryDesk()
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                group.addTask { for await _ in wakeUps { look.yield() } }
                group.addTask { await every(limits.idleInterval) { look.yield() } }
                group.addTask { await every(limits.countInterval) { await count() } }
                await deliver(looks, look, desk)
                group.cancelAll()
            }
        } onGracefulShutdown: {
            look.finish()
        }
        await client.clients.shutDown()
        let interrupted = desk.takeInterrupted()
        if interrupted.isEmpty { return }
        // Not structured: the task may be cancelled, and the claims are to be given back all the same. The statement has a time
        // limit of its own.
        await Task { await release(interrupted) }.value
    }

    private func every(_ interval: Duration, _ body: () async -> Void) async {
        while !Task.isCancelled {
            try? await clock.sleep(for: interval)
            if !Task.isCancelled { await body() }
        }
    }

    // MARK: - Claims

    private func deliver(
        _ looks: AsyncStream<Void>, _ look: AsyncStream<Void>.Continuation, _ desk: DeliveryDesk
    ) async {
        let (ends, end) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        await withDiscardingTaskGroup { group in
            // While the database is away, one line in the log is enough.
            var hasFailed = false
            for await _ in looks {
                do {
                    let claimed = try await outbox.claim(busy: desk.busy, lanes: limits.lanes, lease: limits.lease)
                    for delivery in claimed {
                        desk.begin(delivery)
                        group.addTask {
                            let wasInterrupted = await perform(delivery)
                            desk.end(delivery, wasInterrupted: wasInterrupted)
                            look.yield()
                            end.yield()
                        }
                    }
                    // The end of a delivery causes the next look.
                    if claimed.isEmpty { try await setAlarm(desk, look, &group) }
                    hasFailed = false
                } catch {
                    if !Task.isCancelled, !hasFailed {
                        logger.warning(
                            "the outbox of webhooks cannot be read; trying again", metadata: ["error": "\(error)"])
                    }
                    hasFailed = true
                }
            }
            await untilIdle(desk, ends)
            group.cancelAll()
        }
    }

    /// Causes a look when the next delivery is due, if that is before the next regular look.
    private func setAlarm(
        _ desk: DeliveryDesk, _ look: AsyncStream<Void>.Continuation, _ group: inout DiscardingTaskGroup
    ) async throws {
        guard let pause = try await outbox.pause(), pause < limits.idleInterval else { return }
        let now = clock.now
        guard desk.setAlarm(at: now + pause, now: now) else { return }
        group.addTask {
            try? await clock.sleep(for: pause)
            look.yield()
        }
    }

    private func untilIdle(_ desk: DeliveryDesk, _ ends: AsyncStream<Void>) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                if desk.isIdle { return }
                for await _ in ends where desk.isIdle { return }
            }
            group.addTask { try? await clock.sleep(for: drainTime) }
            await group.next()
            group.cancelAll()
        }
    }

    private func release(_ deliveries: [ClaimedDelivery]) async {
        do {
            try await outbox.release(deliveries)
        } catch {
            logger.notice("webhooks are not given back; their claims lapse", metadata: ["error": "\(error)"])
        }
    }

    private func count() async {
        // While the database cannot answer, the gauges keep their values.
        guard let backlog = try? await outbox.backlog() else { return }
        metrics.record(backlog)
    }

    // MARK: - One delivery

    /// Makes one attempt, and stores its result.
    ///
    /// - Returns: True if the attempt has no result, or if the result could not be stored.
    private func perform(_ delivery: ClaimedDelivery) async -> Bool {
        let outcome = await client.send(delivery)
        guard let result = Self.result(of: outcome, tries: delivery.tries, chance: .random(in: -1...1)) else {
            return true
        }
        guard let isStored = await store(result, of: delivery) else { return true }
        // Another server has the delivery, and counts it.
        if isStored {
            metrics.count(result)
            log(result, of: delivery)
        }
        return false
    }

    /// Decides what becomes of a delivery after an attempt.
    ///
    /// - Parameters:
    ///   - outcome: The outcome of the attempt.
    ///   - tries: How many attempts of the schedule ended before.
    ///   - chance: A random number from -1 to 1, which moves the next attempt.
    /// - Returns: The result; nil if the attempt has none.
    static func result(of outcome: DeliveryClient.Outcome, tries: Int, chance: Double) -> DeliveryResult? {
        var failure: WebhookFailure
        var status: Int?
        switch outcome {
        case .interrupted: return nil
        case .failed(let reason): failure = reason
        case .answered(let code):
            status = code
            switch code {
            case 200..<300: return DeliveryResult(status: code, failure: nil, delay: nil)
            case 300..<400: failure = .redirect
            // "the endpoint is disabled and no more messages are sent to it" (Standard Webhooks, "Deliverability").
            case 410: return DeliveryResult(status: code, failure: .gone, delay: nil)
            default: failure = .status
            }
        }
        return DeliveryResult(
            status: status, failure: failure, delay: RetrySchedule.pause(after: tries + 1, chance: chance))
    }

    /// Stores a result, and tries again for as long as the claim stands.
    ///
    /// - Returns: False if the claim has lapsed; nil if the database did not take the result.
    private func store(_ result: DeliveryResult, of delivery: ClaimedDelivery) async -> Bool? {
        let end = clock.now + limits.lease
        while true {
            do {
                return try await outbox.finish(delivery, result)
            } catch {
                if Task.isCancelled || clock.now >= end { return nil }
                try? await clock.sleep(for: .seconds(1))
            }
        }
    }

    private func log(_ result: DeliveryResult, of delivery: ClaimedDelivery) {
        guard let failure = result.failure else { return }
        var metadata: Logger.Metadata = [
            "webhook": "\(delivery.webhook)", "delivery": "\(delivery.id)", "failure": "\(failure.rawValue)",
        ]
        if let status = result.status { metadata["status"] = "\(status)" }
        if failure == .gone {
            logger.warning("a webhook was deactivated, because its receiver is gone", metadata: metadata)
        } else if result.delay == nil {
            logger.warning("a webhook's delivery was given up", metadata: metadata)
        } else {
            logger.info("a webhook's delivery failed; trying again later", metadata: metadata)
        }
    }
}
