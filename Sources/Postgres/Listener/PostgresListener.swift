import Logging
public import Polling
public import ServiceLifecycle
import Synchronization

/// Receives what `NOTIFY` sends, over a connection of its own.
///
/// After each connect the listener sends LISTEN, proves by one NOTIFY to itself that notifications arrive, and reports
/// `live`. The consumer then reads what was committed before. After `live` no notification is missed without a
/// `degraded` or an `overflow`.
///
/// Ten seconds after the last notification the listener asks the server whether the session still listens, and gives it
/// five seconds to answer. A connection that is lost without a sign is therefore noticed within 15 s. The listener then
/// connects again, with growing pauses of at most five seconds.
public final class PostgresListener: Service, Sendable {
    private let configuration: PostgresConfiguration
    private let channels: [String]
    private let timing: ListenerTiming
    private let runtime: PostgresRuntime
    private let mailbox: ListenerMailbox
    private let state = Mutex(State())

    private struct State {
        var isLive = false
        var isConsumed = false
        /// The last reason for not being live that the log has; nil while live.
        var loggedReason: Logger.Metadata?
        var statistics = PostgresListenerStatistics()
    }

    /// Makes a listener, which `run()` starts.
    ///
    /// - Parameters:
    ///   - configuration: How to reach the database. Connect directly: poolers in transaction mode lose notifications.
    ///   - channels: The channels of LISTEN.
    ///   - bufferLimit: How many notifications may wait for the consumer.
    ///   - clock: The clock of all waits of the listener and its connections.
    /// - Throws: `PostgresError` if the process cannot start the thread for its connections.
    public convenience init(
        configuration: PostgresConfiguration,
        channels: [String],
        bufferLimit: Int = 16_384,
        clock: any MonotonicClock = ContinuousClock()
    ) throws {
        self.init(
            configuration: configuration, channels: channels, bufferLimit: bufferLimit, timing: ListenerTiming(),
            runtime: try .using(clock))
    }

    init(
        configuration: PostgresConfiguration,
        channels: [String],
        bufferLimit: Int,
        timing: ListenerTiming,
        runtime: PostgresRuntime
    ) {
        var configuration = configuration
        // A standby refuses LISTEN.
        configuration.targetSessionAttributes = "read-write"
        configuration.tcpUserTimeout = .seconds(10)
        configuration.queryTimeout = timing.answer
        configuration.pooler = configuration.pooler == .transaction ? .transaction : .off
        self.configuration = configuration
        self.channels = channels
        self.timing = timing
        self.runtime = runtime
        self.mailbox = ListenerMailbox(limit: bufferLimit)
    }

    /// The events, for one consumer, until the listener ends.
    ///
    /// Notifications that arrive while the consumer is busy come together. A slow consumer gets few long batches, and
    /// the buffer stays bounded.
    ///
    /// - Precondition: This is the first call.
    /// - Returns: The events.
    public func events() -> some AsyncSequence<ListenerEvent, Never> & Sendable {
        let isFirst = state.withLock { state in
            defer { state.isConsumed = true }
            return !state.isConsumed
        }
        precondition(isFirst, "a listener has one consumer")
        return ListenerEvents(mailbox: mailbox)
    }

    /// Whether the listener receives every notification.
    public var isLive: Bool { state.withLock { $0.isLive } }

    /// The counters of the listener.
    public var statistics: PostgresListenerStatistics { state.withLock { $0.statistics } }

    /// Listens until the graceful shutdown or the cancellation of the task.
    ///
    /// The events then end.
    public func run() async throws {
        await cancelWhenGracefulShutdown { await self.listen() }
        mailbox.finish()
    }

    // MARK: Carrying out what the state machine says

    private typealias Machine = ListenerStateMachine<Session>

    /// One connection of the listener, and what the poller's thread has seen on it.
    private struct Session: Sendable {
        let connection: PostgresConnection
        let link: ListenerLink
    }

    private struct Failure: Error {
        let trouble: ListenerTrouble
        let cause: (any Error)?

        init(_ trouble: ListenerTrouble, cause: (any Error)? = nil) {
            self.trouble = trouble
            self.cause = cause
        }
    }

    private func listen() async {
        var machine = Machine(timing: timing)
        var action = machine.start(now: runtime.clock.now)
        while !Task.isCancelled {
            do throws(Failure) {
                action = try await perform(action, &machine)
            } catch {
                log(error)
                action = machine.failed(error.trouble, now: runtime.clock.now, jitter: .random(in: 0...1))
            }
        }
        state.withLock { $0.isLive = false }
        await machine.end()?.connection.close()
    }

    /// Carries out an action of the state machine.
    ///
    /// - Parameters:
    ///   - action: The action.
    ///   - machine: The state machine, which gets the result.
    /// - Returns: The next action.
    /// - Throws: The failure for the state machine.
    private func perform(_ action: Machine.Action, _ machine: inout Machine) async throws(Failure) -> Machine.Action {
        switch action {
        case .connect: return machine.connected(try await connect())
        case .listen(let session):
            let isDirect = try await startListening(session)
            return machine.listening(isDirect: isDirect, now: runtime.clock.now)
        case .prove(let session, let overSecondConnection, let deadline):
            try await prove(session, overSecondConnection: overSecondConnection, until: deadline)
            return machine.proved(now: runtime.clock.now)
        case .goLive(let session, let deadline):
            noteLive()
            return .wait(session, until: deadline)
        case .wait(let session, let deadline):
            switch await session.link.waitForSilence(until: deadline, on: runtime.poller) {
            case .received(let last): return machine.received(last: last)
            case .proved: return machine.received(last: runtime.clock.now)
            case .silent: return machine.silent(now: runtime.clock.now)
            case .closed: throw Failure(.connectionLost)
            }
        case .check(let session, let deadline):
            try await check(session.connection, until: deadline)
            return machine.confirmed(now: runtime.clock.now)
        case .retreat(let session, let trouble, let deadline):
            noteDegraded(trouble)
            await session?.connection.close()
            try? await runtime.clock.sleep(until: deadline, tolerance: nil)
            return machine.paused(now: runtime.clock.now)
        }
    }

    private func connect() async throws(Failure) -> Session {
        let link = ListenerLink()
        let connector = Connector(
            configuration: configuration, runtime: runtime,
            onNotification: { [mailbox, clock = runtime.clock, weak self] notification in
                guard link.received(notification, at: clock.now) else { return }
                let hasOverflown = mailbox.add(notification)
                self?.noteNotification(hasOverflown: hasOverflown)
            },
            onClose: { _ in link.closed() })
        do {
            let core = try await connector.connect()
            let connection = PostgresConnection(core: core, defaultTimeout: configuration.queryTimeout)
            return Session(connection: connection, link: link)
        } catch {
            throw Failure(.cannotConnect, cause: error)
        }
    }

    /// Sends LISTEN.
    ///
    /// LISTEN commits before the proof, and the proof comes before the consumer reads.
    ///
    /// - Parameter session: The connection.
    /// - Returns: Whether the server process that answers is the one that the start of the connection named. A pooler
    ///   names a process that does not exist.
    /// - Throws: The failure for the state machine.
    private func startListening(_ session: Session) async throws(Failure) -> Bool {
        let statements = (channels + [session.link.privateChannel]).map { "LISTEN \(quotedIdentifier($0))" }
        do {
            try await session.connection.executeScript(statements.joined(separator: "; "))
            let rows = try await session.connection.query("SELECT pg_backend_pid()")
            let processID = try rows[0].decode(0, as: Int32.self)
            return await session.connection.backendProcessID == processID
        } catch {
            throw Failure(.cannotListen, cause: error)
        }
    }

    private func prove(
        _ session: Session, overSecondConnection: Bool, until deadline: ContinuousClock.Instant
    ) async throws(Failure) {
        let notify: PostgresQuery = "SELECT pg_notify(\(session.link.privateChannel), \(session.link.proof))"
        do {
            if overSecondConnection {
                try await PostgresConnection.withConnection(configuration, on: runtime) {
                    _ = try await $0.query(notify)
                }
            } else {
                _ = try await session.connection.query(notify)
            }
        } catch {
            throw Failure(.notProved, cause: error)
        }
        switch await session.link.waitForProof(until: deadline, on: runtime.poller) {
        case .proved: return
        case .received, .silent: throw Failure(.notProved)
        case .closed: throw Failure(.connectionLost)
        }
    }

    private func check(
        _ connection: PostgresConnection, until deadline: ContinuousClock.Instant
    ) async throws(Failure) {
        let answer: Set<String>
        do {
            let rows = try await connection.query(
                "SELECT pg_listening_channels()", timeout: max(.milliseconds(1), deadline - runtime.clock.now))
            answer = Set(try rows.map { try $0.decode(0, as: String.self) })
        } catch {
            throw Failure(.notListening, cause: error)
        }
        guard answer.isSuperset(of: channels) else { throw Failure(.notListening) }
    }

    // MARK: Reports

    private func noteLive() {
        state.withLock { state in
            state.isLive = true
            state.loggedReason = nil
            state.statistics.livePeriods += 1
        }
        mailbox.goLive()
        configuration.logger.info("listening for notifications")
    }

    private func noteDegraded(_ trouble: ListenerTrouble) {
        state.withLock { state in
            state.isLive = false
            state.statistics.failures += 1
        }
        mailbox.degrade(trouble)
    }

    private func noteNotification(hasOverflown: Bool) {
        state.withLock { state in
            state.statistics.notifications += 1
            if hasOverflown { state.statistics.overflows += 1 }
        }
    }

    /// Logs a failure, and warns of each new reason once.
    ///
    /// A listener may never go live, for instance if it finds only standbys. One warning then tells the operator why.
    private func log(_ failure: Failure) {
        // A failure in a task that was cancelled is the end that was asked for.
        guard !Task.isCancelled else { return }
        var reason: Logger.Metadata = ["trouble": "\(failure.trouble.rawValue)"]
        if let cause = failure.cause as? PostgresError { reason["error"] = "\(cause.description)" }
        let isNew = state.withLock { state in
            defer { state.loggedReason = reason }
            return state.loggedReason != reason
        }
        configuration.logger.log(level: isNew ? .warning : .debug, "not listening", metadata: reason)
    }
}

/// The counters of a listener since its start.
public struct PostgresListenerStatistics: Hashable, Sendable {
    /// How often it went live.
    ///
    /// One less is the number of reconnects.
    public var livePeriods = 0
    /// How often an attempt or a connection failed.
    public var failures = 0
    /// The number of notifications.
    public var notifications = 0
    /// How often the buffer overflowed.
    public var overflows = 0
}

/// The events of a listener.
struct ListenerEvents: AsyncSequence, Sendable {
    let mailbox: ListenerMailbox

    struct Iterator: AsyncIteratorProtocol {
        let mailbox: ListenerMailbox

        func next() async -> ListenerEvent? { await mailbox.next() }

        func next(isolation _: isolated (any Actor)?) async throws(Never) -> ListenerEvent? { await mailbox.next() }
    }

    func makeAsyncIterator() -> Iterator { Iterator(mailbox: mailbox) }
}
