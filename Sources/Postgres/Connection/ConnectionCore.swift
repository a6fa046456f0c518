import CLibPQ
import DequeModule
import Logging
import Polling
import Synchronization

/// One connection on the poller's thread: it carries out what the state machines decide.
///
/// As an actor whose executor is the poller, it touches libpq on that thread and nowhere else, and the compiler checks
/// it. Commands run one after the other, in the order in which they were given.
actor ConnectionCore: PollHandler {
    nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe runtime.poller.asUnownedSerialExecutor() }

    nonisolated let runtime: PostgresRuntime
    nonisolated let health = ConnectionHealth()
    let cachesStatements: Bool
    let onNotification: @Sendable (PostgresNotification) -> Void
    let onClose: @Sendable (PostgresError) -> Void

    /// For how long a command that was given up may hold the connection before it is closed.
    static let grace = Duration.seconds(5)

    enum Phase {
        case new
        case connecting(CheckedContinuation<Void, any Error>, deadline: DeadlineID)
        case open
        case closed(PostgresError)
    }

    var phase = Phase.new
    var libpq: LibPQConnection?
    let notices = NoticeBox()
    var watchedDescriptor: CInt?
    var machine = QueryStateMachine()
    var statements: StatementCache
    var queue: Deque<Command> = []
    var current: Command?
    var graceDeadline: DeadlineID?
    var idleWaiters: [CheckedContinuation<Void, Never>] = []

    init(
        runtime: PostgresRuntime,
        configuration: PostgresConfiguration,
        onNotification: @escaping @Sendable (PostgresNotification) -> Void,
        onClose: @escaping @Sendable (PostgresError) -> Void
    ) {
        self.runtime = runtime
        self.cachesStatements = configuration.pooler == .off && configuration.statementCacheSize > 0
        self.statements = StatementCache(capacity: max(1, configuration.statementCacheSize))
        self.onNotification = onNotification
        self.onClose = onClose
    }

    // MARK: Called from anywhere

    /// Connects to one address.
    nonisolated func open(_ parameters: [(key: String, value: String)], deadline: ContinuousClock.Instant) async throws
    {
        let ticket = Ticket()
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                onPoller { $0.startConnecting(parameters, deadline: deadline, ticket: ticket, continuation) }
            }
        } onCancel: {
            ticket.cancel()
            onPoller { $0.close(PostgresError(.cancelled, "connecting was cancelled")) }
        }
    }

    /// Runs a request and waits for its outcome.
    ///
    /// - Parameters:
    ///   - request: what to run.
    ///   - timeout: for how long to wait, the commands before it included; nil means for ever.
    ///   - isShielded: true runs it to its end even in a cancelled task, as a ROLLBACK must be.
    /// - Returns: the last result.
    /// - Throws: `PostgresError`
    @discardableResult
    nonisolated func perform(
        _ request: Request,
        timeout: Duration?,
        isShielded: Bool = false
    ) async throws -> PostgresResult {
        guard !request.sql.utf8.contains(0) else {
            throw PostgresError(.protocolViolation, "the SQL text contains a NUL")
        }
        let ticket = Ticket()
        let deadline = timeout.map { runtime.clock.now + $0 }
        health.commandBegins()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                onPoller { core in
                    core.submit(
                        Command(ticket: ticket, request: request, deadline: deadline, continuation: continuation))
                }
            }
        } onCancel: {
            guard !isShielded else { return }
            ticket.cancel()
            onPoller { $0.giveUp(ticket, .cancelled) }
        }
    }

    /// Waits until nothing is under way, or the connection is closed.
    nonisolated func settle() async {
        await withCheckedContinuation { continuation in
            onPoller { core in
                core.idleWaiters.append(continuation)
                core.resumeIdleWaiters()
            }
        }
    }

    /// Closes the connection; what is under way fails with the reason.
    nonisolated func closeSoon(_ reason: PostgresError) { onPoller { $0.close(reason) } }

    /// What the server said beside results since the last command began.
    func lastNotices() -> [PostgresNotice] { notices.notices }

    /// The server's version, such as 150020 for 15.20.
    func serverVersion() -> Int { libpq?.serverVersion() ?? 0 }

    /// The server process that serves this connection.
    func backendProcessID() -> Int32 { libpq?.backendProcessID() ?? 0 }

    nonisolated func onPoller(_ body: @escaping @Sendable (isolated ConnectionCore) -> Void) {
        runtime.poller.execute { self.assumeIsolated { body($0) } }
    }

    nonisolated func pollerReady(_ descriptor: CInt, _ readiness: PollReadiness) {
        assumeIsolated { $0.ready(readiness) }
    }

    // MARK: The end

    func connectionLost() {
        if case .connecting = phase { return close(connectError()) }
        // Why the server ended the session is the error of the query, or a notice when there was none.
        let fields =
            current?.stepResult?.serverFields
            ?? notices.fatal.map { .init(sqlState: $0.sqlState ?? .adminShutdown, message: $0.message) }
        close(PostgresError(.connection, "the connection to the database was lost", server: fields))
    }

    func close(_ reason: PostgresError) {
        let previous = phase
        if case .closed = previous { return }
        phase = .closed(reason)
        machine.closed()
        health.set(.closed)
        endGrace()
        unwatch()
        libpq = nil
        switch previous {
        case .connecting(let continuation, let timer):
            runtime.poller.cancelDeadline(timer)
            continuation.resume(throwing: reason)
        case .new, .open, .closed: break
        }
        let failed = [current].compactMap { $0 } + queue
        current = nil
        queue = []
        for command in failed { finish(command, .failure(reason.adding(query: command.request.sql))) }
        resumeIdleWaiters()
        if case .open = previous { onClose(reason) }
    }
}
