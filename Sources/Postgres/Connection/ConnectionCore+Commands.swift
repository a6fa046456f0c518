import DequeModule
import Polling

/// Commands: from the queue through libpq to their outcome, or to being given up.
extension ConnectionCore {
    func submit(_ command: Command) {
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

    func startNext() {
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

    func send(_ step: StatementPlan.Step) {
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
    func drive(_ first: QueryStateMachine.Action) {
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

    func wait(for interest: PollInterest) {
        guard let descriptor = watchedDescriptor else { return }
        do {
            try runtime.poller.setInterest(interest, of: descriptor)
        } catch {
            close(PostgresError(.connection, "cannot wait for the connection", underlying: [error]))
        }
    }

    func stepDone() {
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

    func completeCurrent() {
        guard let command = current else { return }
        current = nil
        updateHealth()
        finish(command, command.outcome(libpqMessage: libpq?.errorMessage() ?? ""))
        startNext()
    }

    func finish(_ command: Command, _ outcome: Result<PostgresResult, any Error>) {
        if let timer = command.timer { runtime.poller.cancelDeadline(timer) }
        health.commandEnds()
        command.continuation.resume(with: outcome)
    }

    // MARK: Giving up

    func giveUp(_ ticket: Ticket, _ reason: GiveUp) {
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
    func abandon(_ reason: GiveUp) {
        guard let command = current else { return }
        current = nil
        health.set(.unsettled)
        let cancel = libpq!.cancelHandle()
        graceDeadline = runtime.poller.schedule(at: runtime.clock.now + Self.grace) { [weak self] in
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

    func endGrace() {
        if let graceDeadline { runtime.poller.cancelDeadline(graceDeadline) }
        graceDeadline = nil
    }

    // MARK: Beside commands

    func drainNotifications() {
        while let notification = libpq?.nextNotification() { onNotification(notification) }
    }

    func updateHealth() {
        health.set(libpq?.transactionStatus() == .idle ? .clean : .inTransaction)
    }

    func resumeIdleWaiters() {
        switch phase {
        case .closed: break
        default: guard machine.isIdle, current == nil, queue.isEmpty else { return }
        }
        let waiters = idleWaiters
        idleWaiters = []
        for waiter in waiters { waiter.resume() }
    }
}
