import Glibc
import Synchronization

/// A socket on its way to the reactor: whoever holds this owns the descriptor, and closes it by letting go.
public final class StreamSocket: Sendable {
    private let descriptor: Mutex<CInt>

    private init(owning descriptor: CInt) { self.descriptor = Mutex(descriptor) }

    /// Duplicates a socket: the new descriptor is this one's own and is not inherited by child processes.
    ///
    /// - Returns: Nil when the process has no descriptor left.
    public convenience init?(duplicating descriptor: CInt) {
        let duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
        guard duplicate >= 0 else { return nil }
        self.init(owning: duplicate)
    }

    deinit {
        let descriptor = descriptor.withLock { $0 }
        if descriptor >= 0 { close(descriptor) }
    }

    /// Hands the descriptor over; the caller closes it.
    func take() -> CInt {
        descriptor.withLock { descriptor in
            defer { descriptor = -1 }
            precondition(descriptor >= 0, "the socket was handed over already")
            return descriptor
        }
    }
}

extension StreamSocket {
    /// What the kernel may hold back for one stream, in bytes; without a bound it keeps a backlog of megabytes for a slow
    /// reader, who then gets old news.
    private static let sendBuffer: CInt = 32 * 1024

    /// Sets a socket up for frames.
    static func prepare(_ descriptor: CInt) {
        setOption(descriptor, SOL_SOCKET, SO_SNDBUF, sendBuffer)
        // An event is a small packet that nothing follows: Nagle's algorithm would keep it back.
        setOption(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, 1)
    }
}

private func setOption(_ descriptor: CInt, _ level: CInt, _ name: CInt, _ value: CInt) {
    var value = value
    _ = unsafe setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<CInt>.size))
}
