import Foundation
import Glibc
import Synchronization

/// A relay on loopback between a client and a server, which can stop relaying without closing anything.
///
/// This is a half-open connection as the client sees it: the peer is gone, and nothing tells the client.
public final class TCPProxy: Sendable {
    private struct State {
        var isFrozen = false
        var isStopped = false
        var descriptors: Set<CInt> = []
        var accepted = 0
    }

    /// The port for clients.
    public let port: Int
    private let target: Int
    private let listeningSocket: CInt
    private let state = Mutex(State())

    /// Starts a relay.
    ///
    /// - Parameter target: The server's port on loopback; nil accepts clients and sends nothing.
    /// - Throws: `POSIXError`
    public init(to target: Int?) throws {
        self.target = target ?? 0
        (listeningSocket, port) = try listenOnLoopback()
        state.withLock { $0.isFrozen = target == nil }
        Thread.detachNewThread { [self] in acceptAll() }
    }

    /// The number of connections.
    public var accepted: Int { state.withLock { $0.accepted } }

    /// Stops relaying.
    ///
    /// Bytes stay in the kernel's buffers or in the relay's.
    public func freeze() { state.withLock { $0.isFrozen = true } }

    /// Starts relaying again.
    public func thaw() { state.withLock { $0.isFrozen = false } }

    /// Closes everything.
    public func stop() {
        let descriptors = state.withLock { state in
            state.isStopped = true
            return state.descriptors
        }
        for descriptor in descriptors { shutdown(descriptor, Int32(SHUT_RDWR)) }
        shutdown(listeningSocket, Int32(SHUT_RDWR))
    }

    private func acceptAll() {
        while true {
            let client = accept(listeningSocket, nil, nil)
            guard client >= 0 else { break }
            let server = target == 0 ? -1 : (try? connectToLoopback(target)) ?? -1
            let isStopped = state.withLock { state in
                state.accepted += 1
                state.descriptors.formUnion([client, server].filter { $0 >= 0 })
                return state.isStopped
            }
            if isStopped { break }
            Thread.detachNewThread { [self] in relay(client, server) }
        }
        close(listeningSocket)
    }

    /// Copies both ways until one side ends, then closes both.
    private func relay(_ client: CInt, _ server: CInt) {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        loop: while !state.withLock({ $0.isStopped }) {
            if state.withLock({ $0.isFrozen }) {
                usleep(2000)
                continue
            }
            var polled = [pollfd(fd: client, events: Int16(POLLIN), revents: 0)]
            if server >= 0 { polled.append(pollfd(fd: server, events: Int16(POLLIN), revents: 0)) }
            guard poll(&polled, nfds_t(polled.count), 10) >= 0 else { break }
            for (from, to) in [(0, server), (1, client)] where from < polled.count && polled[from].revents != 0 {
                // Bytes that came just before a freeze are held back too.
                if state.withLock({ $0.isFrozen }) { continue loop }
                let count = read(polled[from].fd, &buffer, buffer.count)
                guard count > 0, to >= 0 else { break loop }
                var sent = 0
                while sent < count {
                    let written = send(to, Array(buffer[sent..<count]), count - sent, Int32(MSG_NOSIGNAL))
                    guard written > 0 else { break loop }
                    sent += written
                }
            }
        }
        state.withLock { state in
            for descriptor in [client, server] where descriptor >= 0 {
                state.descriptors.remove(descriptor)
                close(descriptor)
            }
        }
    }
}
