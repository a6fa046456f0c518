import Polling
import Synchronization

/// What all connections of a process share: one thread for their sockets, and a few for calls that block.
final class PostgresRuntime: Sendable {
    let poller: Poller
    let resolvers = BlockingThreads(name: "pg-resolve", limit: 4)
    let cancellers = BlockingThreads(name: "pg-cancel", limit: 4)
    let connectGate = Gate(patience: .milliseconds(250))

    private init() throws {
        do {
            poller = try Poller(name: "pg-poller")
        } catch {
            throw PostgresError(.connection, "cannot start the thread for database connections", underlying: [error])
        }
    }

    private static let instance = Mutex<PostgresRuntime?>(nil)

    /// The runtime of this process, made at the first use and never ended.
    static func shared() throws -> PostgresRuntime {
        try instance.withLock { instance in
            if let instance { return instance }
            let made = try PostgresRuntime()
            instance = made
            return made
        }
    }
}
