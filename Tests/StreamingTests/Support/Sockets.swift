import Foundation
import Glibc
import Polling
import TestSupport

@testable import Streaming

/// A system call that failed.
struct SocketError: Error, CustomStringConvertible {
    let call: String
    let code: CInt
    var description: String { "\(call): \(String(cString: strerror(code)))" }

    init(_ call: String) {
        self.call = call
        code = errno
    }
}

/// Makes TCP connections to itself.
///
/// Use it on one thread at a time, or a client gets the connection of another one.
final class Loopback: Sendable {
    private let listeningSocket: CInt
    private let port: in_port_t

    init() throws {
        listeningSocket = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        guard listeningSocket >= 0 else { throw SocketError("socket") }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = listeningSocket
        let isListening = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && listen(descriptor, 128) == 0
                    && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard isListening else { throw SocketError("listen") }
        port = address.sin_port
    }

    deinit { close(listeningSocket) }

    /// Connects a client and accepts it.
    ///
    /// - Parameter receiveBuffer: How many bytes the client's kernel may keep unread; nil for the system's choice.
    /// - Returns: The server's end, the identity of its socket, and the client's end.
    /// - Throws: ``SocketError``
    func connect(receiveBuffer: CInt? = nil) throws -> (server: StreamSocket, identity: String, client: Client) {
        let client = Client(try connected(receiveBuffer))
        let accepted = accept(listeningSocket, nil, nil)
        guard accepted >= 0 else { throw SocketError("accept") }
        defer { close(accepted) }
        guard let server = StreamSocket(duplicating: accepted) else { throw SocketError("fcntl") }
        return (server, try identity(of: accepted), client)
    }

    private func connected(_ receiveBuffer: CInt?) throws -> CInt {
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SocketError("socket") }
        if var size = receiveBuffer {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<CInt>.size))
        }
        // What the test waits for comes in time, or the test fails.
        var limit = timeval(tv_sec: Int(TestDeadline.event.components.seconds), tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        address.sin_port = port
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else { throw SocketError("connect") }
        return descriptor
    }
}

/// Makes a pair of connected sockets that keep the boundaries of writes.
///
/// - Returns: The server's end and the client's end.
/// - Throws: ``SocketError``
func packetSockets() throws -> (server: StreamSocket, client: Client) {
    var ends: [CInt] = [-1, -1]
    guard socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
        throw SocketError("socketpair")
    }
    defer { close(ends[0]) }
    let client = Client(ends[1])
    var limit = timeval(tv_sec: Int(TestDeadline.event.components.seconds), tv_usec: 0)
    setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    guard let server = StreamSocket(duplicating: ends[0]) else { throw SocketError("fcntl") }
    return (server, client)
}

/// A client's end of a connection.
///
/// Its calls block.
final class Client: Sendable {
    let descriptor: CInt

    init(_ descriptor: CInt) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    /// Reads the next bytes, at most so many; none at the end.
    func read(atMost count: Int = 65_536) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: count) { buffer, taken in
            let received = recv(descriptor, buffer.baseAddress, count, 0)
            guard received >= 0 else { throw SocketError("recv") }
            taken = received
        }
    }

    /// Reads so many bytes, or fewer if the end comes before.
    func read(exactly count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let more = try read(atMost: count - bytes.count)
            if more.isEmpty { break }
            bytes += more
        }
        return bytes
    }

    func readToEnd() throws -> [UInt8] {
        var bytes: [UInt8] = []
        while true {
            let more = try read()
            if more.isEmpty { return bytes }
            bytes += more
        }
    }

    func write(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                send(descriptor, $0.baseAddress! + sent, bytes.count - sent, CInt(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw SocketError("send") }
            sent += count
        }
    }

    /// Shuts the client's half.
    func endWriting() { shutdown(descriptor, CInt(SHUT_WR)) }

    /// Lets the close at the end of this object reset the connection.
    func resetOnClose() {
        var option = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    }
}

/// Runs a closure that blocks on a thread of its own, because tasks share few threads.
func onThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
        do {
            try startThread(name: "test-client") { continuation.resume(with: Swift.Result(catching: body)) }
        } catch {
            continuation.resume(throwing: error)
        }
    }
}

/// Identifies a socket in the process, whatever the number of its descriptor is.
func identity(of descriptor: CInt) throws -> String {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw SocketError("fstat") }
    return "socket:[\(status.st_ino)]"
}
