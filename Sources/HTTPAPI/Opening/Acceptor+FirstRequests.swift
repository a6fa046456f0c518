import DequeModule
import Domain
import FoundationEssentials
import Glibc
import Polling
import Progress

/// The first request of each connection.
extension Acceptor {
    /// What a client has sent.
    private enum Received {
        case bytes([UInt8])
        case nothing
        /// The client has closed the connection, or it is broken.
        case end
    }

    /// How many bytes the acceptor reads at most.
    ///
    /// The framework reads the rest.
    private static let readLimit = 16 * 1024

    /// Reads the fresh connections when the present work is done.
    func readFreshSoon() {
        guard !readsFresh, !fresh.isEmpty else { return }
        readsFresh = true
        poller.execute { [weak self] in self?.assumeIsolated { $0.readFresh() } }
    }

    private func readFresh() {
        readsFresh = false
        for _ in 0..<Self.stepsBetweenLooks {
            guard let (descriptor, peer) = fresh.popFirst() else { break }
            readFresh(descriptor, from: peer)
        }
        if machine.isAccepting { acceptAll(atMost: Self.acceptsInARow) }
        readFreshSoon()
    }

    /// Reads a connection for the first time.
    ///
    /// In a burst, its request is often there already.
    func readFresh(_ descriptor: CInt, from peer: IPAddress) {
        switch Self.receive(from: descriptor) {
        case .bytes(let bytes): received(bytes, descriptor, from: peer)
        case .end: drop(descriptor)
        case .nothing: awaitRequest(descriptor, from: peer)
        }
    }

    private func awaitRequest(_ descriptor: CInt, from peer: IPAddress) {
        guard machine.isOpen else { return drop(descriptor) }
        do {
            try poller.watch(descriptor, for: .read, handler: self)
        } catch {
            drop(descriptor)
            return failed((error as? PollerError)?.code ?? ENOMEM)
        }
        let deadline = poller.schedule(at: poller.clock.now + Self.idleTimeout) { [weak self] in
            self?.assumeIsolated { $0.dropSilent(descriptor) }
        }
        silent[descriptor] = SilentConnection(peer: peer, deadline: deadline)
    }

    func readSilent(_ descriptor: CInt) {
        guard let connection = silent[descriptor] else { return }
        switch Self.receive(from: descriptor) {
        case .nothing: break
        case .end: dropSilent(descriptor)
        case .bytes(let bytes):
            forget(descriptor)
            received(bytes, descriptor, from: connection.peer)
        }
    }

    /// Takes what a client has sent first.
    private func received(_ bytes: [UInt8], _ descriptor: CInt, from peer: IPAddress) {
        guard let opening = opener.read(bytes, from: peer) else { return passToFramework(descriptor, bytes, nil) }
        openings.insert(descriptor)
        opener.subscribe(opening) { [weak self, poller] answer in
            poller.execute { [weak self] in
                self?.assumeIsolated { $0.answered(answer, to: opening, descriptor, bytes) }
            }
        }
    }

    /// Takes the hub's answer.
    private func answered(
        _ answer: Result<SubscribeOutcome, any Error>, to opening: StreamOpening, _ descriptor: CInt,
        _ received: [UInt8]
    ) {
        // After a cancellation the connection is gone. The hub then ends the watcher, whose watch is released here.
        guard openings.remove(descriptor) != nil else { return }
        if opener.begin(opening, answer, on: descriptor, logger) {
            leave()
        } else {
            passToFramework(descriptor, received, PreparedOpening(opening, answer))
        }
        finishIfEmpty()
        step()
    }

    private func passToFramework(_ descriptor: CInt, _ received: [UInt8], _ opening: PreparedOpening?) {
        framework.take(
            .init(descriptor: descriptor, received: received, opening: opening) { [weak self] in self?.leave() })
    }

    /// Closes a connection whose client has sent nothing, unless it has sent something since.
    func dropSilent(_ descriptor: CInt) { if forget(descriptor) { drop(descriptor) } }

    /// Ends the wait for the first request of a connection.
    ///
    /// - Returns: False if nothing has waited.
    @discardableResult
    private func forget(_ descriptor: CInt) -> Bool {
        guard let connection = silent.removeValue(forKey: descriptor) else { return false }
        poller.cancelDeadline(connection.deadline)
        poller.unwatch(descriptor)
        return true
    }

    /// Closes a connection.
    func drop(_ descriptor: CInt) {
        close(descriptor)
        leave()
    }

    private static func receive(from descriptor: CInt) -> Received {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: readLimit) { buffer in
            let count = recv(descriptor, buffer.baseAddress, buffer.count, CInt(MSG_DONTWAIT))
            if count > 0 { return .bytes(Array(buffer[..<count])) }
            return count < 0 && (errno == EAGAIN || errno == EINTR) ? .nothing : .end
        }
    }
}
