import Foundation
import Glibc
import Synchronization

/// A relay on loopback between a client and a server, which can stop relaying without closing anything.
///
/// That is what a half-open connection looks like to the client: the peer is gone, and nothing says so.
final class TCPProxy: Sendable {
    private struct State {
        var isFrozen = false
        var isStopped = false
        var descriptors: Set<CInt> = []
        var accepted = 0
    }

    let port: Int
    private let target: Int
    private let listener: CInt
    private let state = Mutex(State())

    /// Relays to a port on loopback, or accepts and says nothing when there is none.
    init(to target: Int?) throws {
        self.target = target ?? 0
        (listener, port) = try listenOnLoopback()
        state.withLock { $0.isFrozen = target == nil }
        Thread.detachNewThread { [self] in acceptAll() }
    }

    /// How many connections came in.
    var accepted: Int { state.withLock { $0.accepted } }

    /// Stops relaying; what is sent stays in the kernel's buffers, or in ours.
    func freeze() { state.withLock { $0.isFrozen = true } }

    /// Relays again.
    func thaw() { state.withLock { $0.isFrozen = false } }

    /// Closes everything.
    func stop() {
        let descriptors = state.withLock { state in
            state.isStopped = true
            return state.descriptors
        }
        for descriptor in descriptors { shutdown(descriptor, Int32(SHUT_RDWR)) }
        shutdown(listener, Int32(SHUT_RDWR))
    }

    private func acceptAll() {
        while true {
            let client = accept(listener, nil, nil)
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
        close(listener)
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
                // What came in just before a freeze is kept back as well.
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

/// A socket that listens on a free port of loopback.
func listenOnLoopback() throws -> (descriptor: CInt, port: Int) {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = loopbackAddress(port: 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let status = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
            bind(descriptor, generic, length) == 0 && listen(descriptor, 128) == 0
                ? getsockname(descriptor, generic, &length) : -1
        }
    }
    guard status == 0 else { throw POSIXError(.EADDRINUSE) }
    return (descriptor, Int(UInt16(bigEndian: address.sin_port)))
}

private func connectToLoopback(_ port: Int) throws -> CInt {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = loopbackAddress(port: port)
    let status = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
            connect(descriptor, generic, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    guard status == 0 else {
        close(descriptor)
        throw POSIXError(.ECONNREFUSED)
    }
    return descriptor
}

private func loopbackAddress(port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return address
}

/// How many sockets of this process are connected, or connecting, to a port on loopback.
///
/// Counting these alone keeps other tests, which run at the same time, out of the count. It looks at the calling thread's
/// own entry in `/proc`: the main thread of a test process may have ended, and its descriptors then look as if there were
/// none.
func openSockets(toPort port: Int) -> Int {
    let suffix = String(format: ":%04X", port)
    // Read to the end by hand: a file of `/proc` has no size and comes in pieces, of which `String` takes the first.
    let handle = FileHandle(forReadingAtPath: "/proc/thread-self/net/tcp")
    var table = Data()
    while let piece = try? handle?.read(upToCount: 65_536), !piece.isEmpty { table += piece }
    let inodes = Set(
        String(decoding: table, as: UTF8.self).split(separator: "\n").dropFirst().compactMap { line -> String? in
            let fields = line.split(separator: " ")
            return fields.count > 9 && fields[2].hasSuffix(suffix) ? "socket:[\(fields[9])]" : nil
        })
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/thread-self/fd")) ?? []
    return names.count { name in
        guard let link = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/thread-self/fd/\(name)")
        else {
            return false
        }
        return inodes.contains(link)
    }
}
