import Foundation
import Synchronization

/// A socket of a client, which uses no event loop and no thread.
///
/// The server and its tests share the event loops. A test that blocks them needs clients that do not use them.
public final class RawSocket: Sendable {
    private let descriptor: CInt
    private let state = Mutex((received: "", hasEnded: false, isClosed: false))

    /// Begins to connect.
    ///
    /// - Parameters:
    ///   - port: The port of the server.
    ///   - usesIPv6: True to connect to `::1`, false to connect to `127.0.0.1`.
    /// - Throws: `POSIXError`
    public init(port: Int, usesIPv6: Bool = false) throws {
        let type = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
        descriptor = socket(usesIPv6 ? AF_INET6 : AF_INET, type, 0)
        guard descriptor >= 0 else { throw POSIXError(.EMFILE) }
        if usesIPv6 {
            var address = sockaddr_in6()
            address.sin6_family = sa_family_t(AF_INET6)
            address.sin6_port = in_port_t(port).bigEndian
            address.sin6_addr = in6addr_loopback
            try begin(address)
        } else {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = in_port_t(port).bigEndian
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            try begin(address)
        }
    }

    deinit { close() }

    private func begin<Address>(_ address: Address) throws {
        var address = address
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<Address>.size))
            }
        }
        guard status == 0 || errno == EINPROGRESS else { throw POSIXError(.ECONNREFUSED) }
    }

    /// True once the server's kernel has completed the handshake.
    public var isConnected: Bool {
        var poll = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        guard Foundation.poll(&poll, 1, 0) == 1 else { return false }
        return poll.revents & Int16(POLLOUT) != 0 && poll.revents & Int16(POLLERR | POLLHUP) == 0
    }

    /// Sends a short text.
    ///
    /// The socket is connected and has room for it.
    ///
    /// - Parameter text: The text.
    /// - Throws: `POSIXError`
    public func send(_ text: String) throws {
        let bytes = Array(text.utf8)
        guard Foundation.send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL)) == bytes.count else {
            throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO)
        }
    }

    /// Everything that has come back.
    public var received: String {
        state.withLock { state in
            read(&state.received, &state.hasEnded)
            return state.received
        }
    }

    /// True once the server has ended the connection without a reset.
    public var hasEnded: Bool {
        state.withLock { state in
            read(&state.received, &state.hasEnded)
            return state.hasEnded
        }
    }

    private func read(_ received: inout String, _ hasEnded: inout Bool) {
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, CInt(MSG_DONTWAIT))
            if count > 0 {
                received += String(decoding: buffer[..<count], as: UTF8.self)
            } else {
                if count == 0 { hasEnded = true }
                return
            }
        }
    }

    /// Closes the socket.
    ///
    /// A second call does nothing.
    public func close() {
        state.withLock { state in
            if !state.isClosed { Foundation.close(descriptor) }
            state.isClosed = true
        }
    }
}
