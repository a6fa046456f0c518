import CLibPQ
import Polling

/// One connection on the poller's thread.
///
/// It carries out what the state machines decide.
///
/// The actor's executor is the poller. Only the poller's thread uses libpq, and the compiler checks that. Commands run
/// one after the other, in the order of their calls.
actor ConnectionCore: PollHandler {
    nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe runtime.poller.asUnownedSerialExecutor() }

    nonisolated let runtime: PostgresRuntime
    nonisolated let health = ConnectionHealth()
    private let onNotification: @Sendable (PostgresNotification) -> Void
    private let onClose: @Sendable (PostgresError) -> Void

    /// How long a cancelled command may hold the connection before the connection is closed.
    private static let grace = Duration.seconds(5)

    private enum Phase {
        /// The connection was not started. → connecting, closed
        case new
        /// libpq connects. → open, closed
        case connecting(CheckedContinuation<Void, any Error>, deadline: DeadlineID)
        /// Commands run. → closed
        case open
        /// The connection cannot be used again.
        case closed(PostgresError)
    }

    private var phase = Phase.new
    private var libpq: LibPQConnection?
    private let notices = NoticeBox()
    private var watchedDescriptor: CInt?
    private var machine = QueryStateMachine()
    private var commands: CommandPipeline
    private var graceDeadline: DeadlineID?
    private var idleWaiters: [CheckedContinuation<Void, Never>] = []

    init(
        runtime: PostgresRuntime,
        configuration: PostgresConfiguration,
        onNotification: @escaping @Sendable (PostgresNotification) -> Void,
        onClose: @escaping @Sendable (PostgresError) -> Void
    ) {
        self.runtime = runtime
        self.commands = CommandPipeline(configuration)
        self.onNotification = onNotification
        self.onClose = onClose
    }

    /// The notices since the last command began.
    func lastNotices() -> [PostgresNotice] { notices.notices }

    /// The server's version, such as 150020 for 15.20.
    func serverVersion() -> Int { libpq?.serverVersion() ?? 0 }

    /// The server process that serves this connection.
    func backendProcessID() -> Int32 { libpq?.backendProcessID() ?? 0 }

    // MARK: Connecting

    /// Begins to connect to one address.
    func startConnecting(
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
        // "On the first iteration, i.e., if you have yet to call PQconnectPoll, behave as if it last returned
        // PGRES_POLLING_WRITING" (manual, 34.1).
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
            // If watching failed, the continuation was resumed with the error.
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

    private func wait(for interest: PollInterest) {
        guard let descriptor = watchedDescriptor else { return }
        do {
            try runtime.poller.setInterest(interest, of: descriptor)
        } catch {
            close(PostgresError(.connection, "cannot wait for the connection", underlying: [error]))
        }
    }

    nonisolated func pollerReady(_ descriptor: CInt, _ readiness: PollReadiness) {
        assumeIsolated { $0.ready(readiness) }
    }

    private func ready(_ readiness: PollReadiness) {
        switch phase {
        case .connecting: continueConnecting()
        case .open: drive(machine.ready(readiness))
        case .new, .closed: break
        }
    }

    // MARK: Commands

    /// Queues a command, and starts it if none is under way.
    func submit(_ command: Command) {
        var command = command
        if command.ticket.isCancelled {
            return finish(command, .failure(CancelReason.cancelled.error(command)))
        }
        if case .closed(let error) = phase {
            return finish(command, .failure(error.adding(query: command.request.sql)))
        }
        if let deadline = command.deadline {
            let ticket = command.ticket
            command.timer = runtime.poller.schedule(at: deadline) { [weak self] in
                self?.assumeIsolated { $0.cancel(ticket, .deadline) }
            }
        }
        commands.append(command)
        startNext()
    }

    private func startNext() {
        guard case .open = phase, machine.isIdle, commands.current == nil else { return }
        guard let step = commands.startNext() else { return resumeIdleWaiters() }
        notices.removeAll()
        send(step)
    }

    private func send(_ step: StatementPlan.Step) {
        guard let request = commands.current?.request else { return }
        let isTaken: Bool
        switch (step, request) {
        case (.simple(let sql), _): isTaken = libpq!.sendSimple(sql)
        case (.unnamed, .query(let query)): isTaken = libpq!.sendUnnamed(query)
        case (.prepare(let name), .query(let query)): isTaken = libpq!.sendPrepare(query, name: name)
        case (.execute(let name), .query(let query)): isTaken = libpq!.sendPrepared(query.bindings, name: name)
        case (_, .script): preconditionFailure("a script is one simple step")
        }
        if isTaken { return drive(machine.sent()) }
        if libpq!.isBad() { return connectionLost() }
        // libpq refuses, for instance, more than 65,535 parameters.
        guard let command = commands.takeCurrent() else { return }
        finish(
            command,
            .failure(PostgresError(.protocolViolation, "libpq refuses the query", query: command.request.sql)))
        startNext()
    }

    /// Carries out actions until the connection waits for something.
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
                    commands.receive(result)
                    action = machine.result(result.isCopy ? .copy : .ordinary)
                } else if libpq!.isBad() {
                    // The connection is gone. libpq made up an error of its own and calls the command done.
                    return connectionLost()
                } else {
                    action = machine.noResult()
                }
            case .wait(let interest): return wait(for: interest)
            case .finish:
                drainNotifications()
                return stepDone()
            case .cancel(let reason, let interest):
                cancelCurrent(reason)
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

    private func stepDone() {
        if let step = commands.stepDone(isInTransaction: libpq!.transactionStatus() != .idle) { return send(step) }
        if let command = commands.takeCurrent() {
            updateHealth()
            finish(command, command.outcome())
        }
        startNext()
    }

    private func finish(_ command: Command, _ outcome: Result<PostgresResult, any Error>) {
        if let timer = command.timer { runtime.poller.cancelDeadline(timer) }
        health.commandEnds()
        command.continuation.resume(with: outcome)
    }

    private func drainNotifications() {
        while let notification = libpq?.nextNotification() { onNotification(notification) }
    }

    private func updateHealth() {
        health.set(libpq?.transactionStatus() == .idle ? .clean : .inTransaction)
    }

    /// Resumes a continuation when no command is under way, or the connection is closed.
    func resumeWhenIdle(_ continuation: CheckedContinuation<Void, Never>) {
        idleWaiters.append(continuation)
        resumeIdleWaiters()
    }

    private func resumeIdleWaiters() {
        switch phase {
        case .closed: break
        default: guard machine.isIdle, commands.isEmpty else { return }
        }
        let waiters = idleWaiters
        idleWaiters = []
        for waiter in waiters { waiter.resume() }
    }

    // MARK: Cancelling

    /// Cancels a command, whether it waits or is under way.
    func cancel(_ ticket: Ticket, _ reason: CancelReason) {
        if let command = commands.takeWaiting(ticket) {
            return finish(command, .failure(reason.error(command)))
        }
        guard commands.current?.ticket === ticket, let action = machine.cancel(reason) else { return }
        drive(action)
    }

    /// Fails the command that is under way at once, and has the server cancel it meanwhile.
    private func cancelCurrent(_ reason: CancelReason) {
        guard let command = commands.takeCurrent() else { return }
        health.set(.unsettled)
        let handle = libpq!.cancelHandle()
        graceDeadline = runtime.poller.schedule(at: runtime.clock.now + Self.grace) { [weak self] in
            self?.assumeIsolated { core in
                if let action = core.machine.graceOver() { core.drive(action) }
            }
        }
        // If no thread can be started, the end of the grace period closes the connection.
        try? runtime.cancellers.run { [weak self] in
            _ = handle?.cancel()
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
        // The server's reason is the error of the query, or a notice if no query was under way.
        let fields =
            commands.current?.stepResult?.serverFields
            ?? notices.fatal.map { .init(sqlState: $0.sqlState ?? .adminShutdown, message: $0.message) }
        close(PostgresError(.connection, "the connection to the database was lost", server: fields))
    }

    /// Closes the connection.
    ///
    /// Its commands fail with the reason.
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
        for command in commands.takeAll() { finish(command, .failure(reason.adding(query: command.request.sql))) }
        resumeIdleWaiters()
        if case .open = previous { onClose(reason) }
    }
}
