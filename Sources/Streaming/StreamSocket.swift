import Glibc
import Synchronization

/// A socket on its way to the reactor.
///
/// This object owns the descriptor. It closes it when the last reference goes, unless the reactor has taken it.
public final class StreamSocket: Sendable {
    private let descriptor: Mutex<CInt>

    /// Takes over a socket.
    ///
    /// - Parameter descriptor: The socket, which nothing else uses.
    public init(owning descriptor: CInt) { self.descriptor = Mutex(descriptor) }

    /// Duplicates a socket.
    ///
    /// Child processes do not inherit the new descriptor.
    ///
    /// Fails if the process has no descriptor left.
    ///
    /// - Parameter descriptor: The socket to duplicate. It stays the caller's.
    public convenience init?(duplicating descriptor: CInt) {
        let duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
        guard duplicate >= 0 else { return nil }
        self.init(owning: duplicate)
    }

    deinit {
        let descriptor = descriptor.withLock { $0 }
        if descriptor >= 0 { close(descriptor) }
    }

    /// Hands the descriptor over to the caller, which closes it.
    func take() -> CInt {
        descriptor.withLock { descriptor in
            defer { descriptor = -1 }
            precondition(descriptor >= 0, "the socket was handed over already")
            return descriptor
        }
    }
}

/// The calls that the reactor makes on the sockets of its streams.
extension StreamSocket {
    /// How many bytes the kernel may hold for one stream.
    ///
    /// Without a limit the kernel keeps megabytes for a slow reader, who then reads old states.
    private static let sendBuffer: CInt = 32 * 1024

    /// How long sent bytes may stay unacknowledged before the connection counts as dead, in milliseconds.
    private static let userTimeout: CInt = 60_000

    /// Sets the options of a stream's socket.
    static func prepare(_ descriptor: CInt) {
        setOption(descriptor, SOL_SOCKET, SO_SNDBUF, sendBuffer)
        // An event is a small packet that nothing follows, and Nagle's algorithm would hold it back.
        setOption(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, 1)
        // tcp(7): "the maximum amount of time in milliseconds that transmitted data may remain unacknowledged […] before TCP
        // will forcibly close the corresponding connection".
        setOption(descriptor, CInt(IPPROTO_TCP), TCP_USER_TIMEOUT, userTimeout)
    }

    /// Writes bytes of a frame to a socket.
    ///
    /// - Returns: How many bytes the kernel took; 0 if the socket has no room, nil if the connection is broken.
    static func write(_ frame: Frame, _ range: Range<Int>, to descriptor: CInt) -> Int? {
        unsafe frame.bytes.withUnsafeBytes { bytes in
            // With MSG_NOSIGNAL a client that is gone is an error of this call, not a SIGPIPE for the process.
            let flags = CInt(MSG_NOSIGNAL | MSG_DONTWAIT)
            let count = unsafe send(descriptor, bytes.baseAddress! + range.lowerBound, range.count, flags)
            if count >= 0 { return count }
            return errno == EAGAIN || errno == EINTR ? 0 : nil
        }
    }

    /// Shuts the server's half of a connection.
    static func shutDownSending(_ descriptor: CInt) { shutdown(descriptor, CInt(SHUT_WR)) }

    /// Reads at most 64 KiB of what a client sent: a client that never stops sending must leave time for the others.
    ///
    /// - Parameters:
    ///   - descriptor: The socket.
    ///   - take: Takes the bytes of one read, and returns whether to read on.
    /// - Returns: Why the stream is over; nil if it is not.
    static func read(_ descriptor: CInt, _ take: (Span<UInt8>) -> Bool) -> StreamEnd? {
        unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 4096) { scratch in
            for _ in 0..<16 {
                let count = unsafe recv(descriptor, scratch.baseAddress, scratch.count, CInt(MSG_DONTWAIT))
                if count == 0 { return .clientClosed }
                if count < 0 { return errno == EAGAIN || errno == EINTR ? nil : .broken }
                let bytes = unsafe UnsafeBufferPointer(rebasing: scratch[..<count])
                guard unsafe take(bytes.span) else { return nil }
            }
            return nil
        }
    }
}

private func setOption(_ descriptor: CInt, _ level: CInt, _ name: CInt, _ value: CInt) {
    var value = value
    _ = unsafe setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<CInt>.size))
}
