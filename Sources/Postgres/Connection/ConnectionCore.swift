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
    private let cachesStatements: Bool
    private let onNotification: @Sendable (PostgresNotification) -> Void
    private let onClose: @Sendable (PostgresError) -> Void

    /// For how long a command that was given up may hold the connection before it is closed.
    private static let grace = Duration.seconds(5)

    private enum Phase {
        case new
        case connecting(CheckedContinuation<Void, any Error>, deadline: DeadlineID)
        case open
        case closed(PostgresError)
    }

    private var phase = Phase.new
    private var libpq: LibPQConnection?
    private let notices = NoticeBox()
    private var watchedDescriptor: CInt?
    private var machine = QueryStateMachine()
    private var statements: StatementCache
    private var queue: Deque<Command> = []
    private var current: Command?
    private var graceDeadline: DeadlineID?
    private var idleWaiters: [CheckedContinuation<Void, Never>] = []

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
        let deadline = timeout.map { ContinuousClock.now + $0 }
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

    private nonisolated func onPoller(_ body: @escaping @Sendable (isolated ConnectionCore) -> Void) {
        runtime.poller.execute { self.assumeIsolated { body($0) } }
    }

    nonisolated func pollerReady(_ descriptor: CInt, _ readiness: PollReadiness) {
        assumeIsolated { $0.ready(readiness) }
    }

    // MARK: Connecting

    private func startConnecting(
        _ parameters: [(key: String, value: String)],
        deadline: ContinuousClock.Instant,
        ticket: Ticket,
        _ continuation: CheckedContinuation<Void, any Error>
    ) {
        if ticket.isCancelled {
            return continuation.resume(throwing: PostgresError(.cancelled, "connecting was cancelled"))
        }
        if case .closed(let error) = phase { return continuation.resume(throwing: error) }
        let timer = runtime.poller.schedule(at: deadline) { [weak self] in
            self?.assumeIsolated { core in
                guard case .connecting = core.phase else { return }
                core.close(PostgresError(.deadlineExceeded, "connecting to the database took too long"))
            }
        }
        phase = .connecting(continuation, deadline: timer)
        guard let started = LibPQConnection(starting: parameters) else {
            return close(PostgresError(.connection, "libpq is out of memory"))
        }
        libpq = consume started
        libpq!.setNoticeReceiver(notices)
        libpq!.showSQLStates()
        if libpq!.isBad() { return close(connectError()) }
        // "If PQconnectStart … succeeds, … behave as if [PQconnectPoll] had last returned PGRES_POLLING_WRITING"
        // (manual, 34.1).
        watch(.write)
    }

    private func continueConnecting() {
        // "Caution: do not assume that the socket remains the same across PQconnectPoll calls" (manual, 34.1).
        unwatch()
        switch libpq!.connectPoll() {
        case PGRES_POLLING_READING: watch(.read)
        case PGRES_POLLING_WRITING: watch(.write)
        case PGRES_POLLING_OK:
            guard case .connecting(let continuation, let timer) = phase else { return }
            guard libpq!.setNonblocking() else { return close(connectError()) }
            runtime.poller.cancelDeadline(timer)
            phase = .open
            watch(.read)
            // Watching may have failed, and then the continuation has been resumed already.
            if case .open = phase { continuation.resume() }
        default: close(connectError())
        }
    }

    private func connectError() -> PostgresError {
        ConnectMessage(libpq?.errorMessage() ?? "").error
    }

    // MARK: The socket

    private func watch(_ interest: PollInterest) {
        let descriptor = libpq!.socket()
        guard descriptor >= 0 else { return connectionLost() }
        do {
            try runtime.poller.watch(descriptor, for: interest, handler: self)
            watchedDescriptor = descriptor
        } catch {
            close(PostgresError(.connection, "cannot wait for the connection", underlying: [error]))
        }
    }

    private func unwatch() {
        if let descriptor = watchedDescriptor { runtime.poller.unwatch(descriptor) }
        watchedDescriptor = nil
    }

    private func ready(_ readiness: PollReadiness) {
        switch phase {
        case .connecting: continueConnecting()
        case .open: drive(machine.ready(readiness))
        case .new, .closed: break
        }
    }

    // MARK: Commands

    private func submit(_ command: Command) {
        var command = command
        if command.ticket.isCancelled {
            return finish(command, .failure(GiveUp.cancelled.error(command)))
        }
        if case .closed(let error) = phase {
            return finish(command, .failure(error.adding(query: command.request.sql)))
        }
        if let deadline = command.deadline {
            let ticket = command.ticket
            command.timer = runtime.poller.schedule(at: deadline) { [weak self] in
                self?.assumeIsolated { $0.giveUp(ticket, .deadline) }
            }
        }
        queue.append(command)
        startNext()
    }

    private func startNext() {
        guard case .open = phase, machine.isIdle, current == nil else { return }
        guard var command = queue.popFirst() else { return resumeIdleWaiters() }
        notices.removeAll()
        let name = cachesStatements ? command.key.flatMap { statements.name(for: $0) } : nil
        let isNew = cachesStatements && name == nil && command.key != nil
        let step = command.plan.start(
            command.request,
            prepared: name,
            cachesStatements: cachesStatements,
            newName: isNew ? statements.newName() : "",
            evicted: isNew ? statements.evict() : nil)
        current = command
        send(step)
    }

    private func send(_ step: StatementPlan.Step) {
        guard let command = current else { return }
        current?.stepResult = nil
        let isTaken: Bool
        switch (step, command.request) {
        case (.simple(let sql), _): isTaken = libpq!.sendSimple(sql)
        case (.unnamed, .query(let query)): isTaken = libpq!.sendUnnamed(query)
        case (.prepare(let name), .query(let query)): isTaken = libpq!.sendPrepare(query, name: name)
        case (.execute(let name), .query(let query)): isTaken = libpq!.sendPrepared(query.bindings, name: name)
        case (_, .script): preconditionFailure("a script is one simple step")
        }
        if isTaken { return drive(machine.sent()) }
        if libpq!.isBad() { return connectionLost() }
        // libpq refuses, for instance, more than 65,535 parameters.
        let error = PostgresError(
            .protocolViolation, "libpq refuses the query", underlying: [], query: command.request.sql)
        current = nil
        finish(command, .failure(error))
        startNext()
    }

    /// Does what the state machine says until there is something to wait for.
    private func drive(_ first: QueryStateMachine.Action) {
        var action = first
        while case .open = phase {
            switch action {
            case .flush: action = machine.flushed(libpq!.flush())
            case .consumeInput:
                let succeeded = libpq!.consumeInput()
                drainNotifications()
                action = machine.consumed(succeeded)
            case .getResult:
                if libpq!.isBusy() {
                    drainNotifications()
                    action = machine.busy()
                } else if let result = libpq!.getResult() {
                    current?.stepResult = result
                    action = machine.result(result.isCopy ? .copy : .ordinary)
                } else if libpq!.isBad() {
                    // libpq has made up an error of its own and calls the command done, and the connection is gone.
                    return connectionLost()
                } else {
                    action = machine.noResult()
                }
            case .wait(let interest): return wait(for: interest)
            case .finish:
                drainNotifications()
                return stepDone()
            case .giveUp(let reason, let interest):
                abandon(reason == .deadline ? .deadline : .cancelled)
                return wait(for: interest)
            case .probe:
                guard libpq!.sendSimple("") else { return connectionLost() }
                action = machine.sent()
            case .idle:
                endGrace()
                updateHealth()
                return startNext()
            case .close(.lost): return connectionLost()
            case .close(.copy): return close(PostgresError(.protocolViolation, "COPY is not supported"))
            case .close(.stuck):
                return close(PostgresError(.connection, "a cancelled query did not end in time"))
            }
        }
    }

    private func wait(for interest: PollInterest) {
        guard let descriptor = watchedDescriptor else { return }
        do {
            try runtime.poller.setInterest(interest, of: descriptor)
        } catch {
            close(PostgresError(.connection, "cannot wait for the connection", underlying: [error]))
        }
    }

    private func stepDone() {
        guard var command = current else { return startNext() }
        let error = command.stepResult?.serverFields?.sqlState
        let action = command.plan.stepDone(error: error, isInTransaction: libpq!.transactionStatus() != .idle)
        current = command
        switch action {
        case .send(let step): send(step)
        case .remember(let name, let step):
            if let key = command.key { statements.insert(name, for: key) }
            send(step)
        case .forget(_, let step):
            if let key = command.key { statements.remove(key) }
            if let step { send(step) } else { completeCurrent() }
        case .complete: completeCurrent()
        }
    }

    private func completeCurrent() {
        guard let command = current else { return }
        current = nil
        updateHealth()
        finish(command, command.outcome(libpqMessage: libpq?.errorMessage() ?? ""))
        startNext()
    }

    private func finish(_ command: Command, _ outcome: Result<PostgresResult, any Error>) {
        if let timer = command.timer { runtime.poller.cancelDeadline(timer) }
        health.commandEnds()
        command.continuation.resume(with: outcome)
    }

    // MARK: Giving up

    private func giveUp(_ ticket: Ticket, _ reason: GiveUp) {
        if let index = queue.firstIndex(where: { $0.ticket === ticket }) {
            let command = queue.remove(at: index)
            return finish(command, .failure(reason.error(command)))
        }
        guard let current, current.ticket === ticket,
            let action = machine.giveUp(reason == .deadline ? .deadline : .cancelled)
        else { return }
        drive(action)
    }

    /// Tells the caller now, and has the server cancel meanwhile.
    private func abandon(_ reason: GiveUp) {
        guard let command = current else { return }
        current = nil
        health.set(.unsettled)
        let cancel = libpq!.cancelHandle()
        graceDeadline = runtime.poller.schedule(at: .now + Self.grace) { [weak self] in
            self?.assumeIsolated { core in
                if let action = core.machine.graceOver() { core.drive(action) }
            }
        }
        // Without a thread for it nothing is reported, and the grace period closes the connection.
        try? runtime.cancellers.run { [weak self] in
            _ = cancel?.cancel()
            self?.onPoller { $0.drive($0.machine.cancelSent()) }
        }
        finish(command, .failure(reason.error(command)))
    }

    private func endGrace() {
        if let graceDeadline { runtime.poller.cancelDeadline(graceDeadline) }
        graceDeadline = nil
    }

    // MARK: The end

    private func connectionLost() {
        if case .connecting = phase { return close(connectError()) }
        // Why the server ended the session is the error of the query, or a notice when there was none.
        let fields =
            current?.stepResult?.serverFields
            ?? notices.fatal.map { .init(sqlState: $0.sqlState ?? .adminShutdown, message: $0.message) }
        close(PostgresError(.connection, "the connection to the database was lost", server: fields))
    }

    private func close(_ reason: PostgresError) {
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

    // MARK: Beside commands

    private func drainNotifications() {
        while let notification = libpq?.nextNotification() { onNotification(notification) }
    }

    private func updateHealth() {
        health.set(libpq?.transactionStatus() == .idle ? .clean : .inTransaction)
    }

    private func resumeIdleWaiters() {
        switch phase {
        case .closed: break
        default: guard machine.isIdle, current == nil, queue.isEmpty else { return }
        }
        let waiters = idleWaiters
        idleWaiters = []
        for waiter in waiters { waiter.resume() }
    }
}
