import CLibPQ
import Polling

/// Connecting, and waiting for the socket.
extension ConnectionCore {
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

    func continueConnecting() {
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

    func connectError() -> PostgresError {
        ConnectMessage(libpq?.errorMessage() ?? "").error
    }

    // MARK: The socket

    func watch(_ interest: PollInterest) {
        let descriptor = libpq!.socket()
        guard descriptor >= 0 else { return connectionLost() }
        do {
            try runtime.poller.watch(descriptor, for: interest, handler: self)
            watchedDescriptor = descriptor
        } catch {
            close(PostgresError(.connection, "cannot wait for the connection", underlying: [error]))
        }
    }

    func unwatch() {
        if let descriptor = watchedDescriptor { runtime.poller.unwatch(descriptor) }
        watchedDescriptor = nil
    }

    func ready(_ readiness: PollReadiness) {
        switch phase {
        case .connecting: continueConnecting()
        case .open: drive(machine.ready(readiness))
        case .new, .closed: break
        }
    }
}
