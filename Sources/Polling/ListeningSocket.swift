import CEpoll
public import Glibc
import Synchronization

/// A TCP socket that listens for connections.
///
/// It is the only one on its address and port: it does not set `SO_REUSEPORT`. Another process of the same account could
/// otherwise listen on the port too, and receive a part of the connections.
public final class ListeningSocket: Sendable {
    /// What came of an attempt to accept a connection.
    public enum Accepted: Equatable, Sendable {
        /// A connection. Its descriptor is the caller's, does not block and is closed on exec.
        ///
        /// `peer` is the address at the other end: 4 or 16 bytes in network order.
        case connection(CInt, peer: [UInt8])
        /// No connection waits.
        case none
        /// The system call failed with this `errno`.
        case failed(CInt)
    }

    /// How many connections the kernel may complete before they are accepted.
    ///
    /// listen(2): "If the backlog argument is greater than the value in /proc/sys/net/core/somaxconn, then it is silently
    /// capped to that value."
    private static let backlog: CInt = 65_535

    /// The descriptor, for a ``Poller``.
    public let descriptor: CInt

    /// The port; the free one that the kernel has chosen if the address has port 0.
    public let port: Int

    private let isClosed = Atomic(false)

    /// Listens on an address of IPv4.
    ///
    /// - Parameter address: The address and the port.
    /// - Throws: `PollerError` with the `errno` of the call that failed.
    public convenience init(_ address: sockaddr_in) throws(PollerError) { try self.init(family: AF_INET, address) }

    /// Listens on an address of IPv6.
    ///
    /// - Parameter address: The address and the port.
    /// - Throws: `PollerError` with the `errno` of the call that failed.
    public convenience init(_ address: sockaddr_in6) throws(PollerError) { try self.init(family: AF_INET6, address) }

    private init<Address>(family: CInt, _ address: Address) throws(PollerError) {
        let type = SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue
        descriptor = socket(family, CInt(type), 0)
        guard descriptor >= 0 else { throw PollerError(call: "socket") }
        do {
            try Self.listen(descriptor, on: address)
            port = try Self.port(of: descriptor)
        } catch {
            close(descriptor)
            throw error
        }
    }

    deinit { stop() }

    private static func listen<Address>(_ descriptor: CInt, on address: Address) throws(PollerError) {
        // A server that starts again may use the port while connections of the earlier one are in TIME_WAIT.
        var isOn: CInt = 1
        let isSet = unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_REUSEADDR, &isOn, socklen_t(MemoryLayout<CInt>.size))
        guard isSet == 0 else { throw PollerError(call: "setsockopt") }
        var address = address
        let isBound = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(descriptor, $0, socklen_t(MemoryLayout<Address>.size))
            }
        }
        guard isBound == 0 else { throw PollerError(call: "bind") }
        guard Glibc.listen(descriptor, backlog) == 0 else { throw PollerError(call: "listen") }
    }

    private static func port(of descriptor: CInt) throws(PollerError) -> Int {
        // The port is at the same place in the addresses of IPv4 and IPv6.
        var address = sockaddr_in6()
        var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
        let isKnown = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe getsockname(descriptor, $0, &length)
            }
        }
        guard isKnown == 0 else { throw PollerError(call: "getsockname") }
        return Int(in_port_t(bigEndian: address.sin6_port))
    }

    /// Accepts one connection.
    ///
    /// The call never blocks.
    ///
    /// - Returns: What came of it.
    public func accept() -> Accepted {
        guard !isClosed.load(ordering: .relaxed) else { return .none }
        var peer = sockaddr_storage()
        let connection = unsafe cepoll_accept(descriptor, &peer)
        guard connection >= 0 else { return errno == EAGAIN || errno == EWOULDBLOCK ? .none : .failed(errno) }
        return .connection(connection, peer: Self.address(peer))
    }

    private static func address(_ peer: sockaddr_storage) -> [UInt8] {
        unsafe withUnsafeBytes(of: peer) { bytes in
            let field =
                CInt(peer.ss_family) == AF_INET
                ? MemoryLayout<sockaddr_in>.offset(of: \.sin_addr)!..<8
                : MemoryLayout<sockaddr_in6>.offset(of: \.sin6_addr)!..<24
            return unsafe Array(bytes[field])
        }
    }

    /// Closes the socket.
    ///
    /// The kernel resets the connections that wait. A poller has to have forgotten the socket. The socket accepts nothing
    /// after this call, and a second call does nothing.
    public func stop() {
        if !isClosed.exchange(true, ordering: .relaxed) { close(descriptor) }
    }
}
