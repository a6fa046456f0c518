public import Domain
import FoundationEssentials
import Glibc
import Polling
import Synchronization

/// Finds the addresses of a name.
public protocol NameResolver: Sendable {
    /// The addresses of a name, in the order in which to try them; empty if the name has none or cannot be looked up.
    ///
    /// - Throws: `CancellationError` if the task is cancelled.
    func addresses(of name: String) async throws -> [IPAddress]
}

/// Asks the system: `getaddrinfo`, with `/etc/hosts` and the name servers of the host.
///
/// A call blocks its thread, up to half a minute if no name server answers. Each name that is looked up therefore has a thread of its
/// own: a name server that does not answer delays no other name. Callers that ask for the same name at the same time share one
/// thread. There are at most as many threads as endpoints.
public final class SystemResolver: NameResolver {
    private typealias Waiter = CheckedContinuation<[IPAddress], any Error>

    private struct State {
        var last = 0
        var waiters: [String: [Int: Waiter]] = [:]
    }

    private let state = Mutex(State())

    /// A resolver.
    public init() {}

    /// The addresses of a name, in the system's order of preference.
    ///
    /// - Throws: `CancellationError` if the task is cancelled. The thread ends by itself.
    public func addresses(of name: String) async throws -> [IPAddress] {
        let id = state.withLock { state in
            state.last += 1
            return state.last
        }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let isFirst = state.withLock { state in
                    let isFirst = state.waiters[name] == nil
                    state.waiters[name, default: [:]][id] = continuation
                    return isFirst
                }
                if isFirst { begin(name) }
                // A cancellation just before found no waiter.
                if Task.isCancelled { cancel(id, name) }
            }
        } onCancel: {
            cancel(id, name)
        }
    }

    private func begin(_ name: String) {
        do {
            try startThread(name: "webhook-resolve") { [self] in answer(name, with: Self.lookUp(name)) }
        } catch {
            answer(name, with: [])
        }
    }

    private func answer(_ name: String, with addresses: [IPAddress]) {
        let waiters = state.withLock { $0.waiters.removeValue(forKey: name) ?? [:] }
        for waiter in waiters.values { waiter.resume(returning: addresses) }
    }

    private func cancel(_ id: Int, _ name: String) {
        // The entry of the name stays: its thread is still at work.
        let waiter = state.withLock { $0.waiters[name]?.removeValue(forKey: id) }
        waiter?.resume(throwing: CancellationError())
    }

    /// Looks a name up, and blocks.
    private static func lookUp(_ name: String) -> [IPAddress] {
        var hints = addrinfo()
        hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
        hints.ai_flags = CInt(AI_ADDRCONFIG)
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(name, nil, &hints, &list) == 0 else { return [] }
        defer { freeaddrinfo(list) }
        var found: [IPAddress] = []
        var entry = list
        while let current = entry?.pointee {
            if let address = current.ai_addr.flatMap(address), !found.contains(address) { found.append(address) }
            entry = current.ai_next
        }
        return found
    }

    private static func address(_ socket: UnsafeMutablePointer<sockaddr>) -> IPAddress? {
        switch CInt(socket.pointee.sa_family) {
        case AF_INET:
            socket.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                withUnsafeBytes(of: $0.pointee.sin_addr) { IPAddress(bytes: Array($0)) }
            }
        case AF_INET6:
            socket.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
                withUnsafeBytes(of: $0.pointee.sin6_addr) { IPAddress(bytes: Array($0)) }
            }
        default: nil
        }
    }
}
