import Polling
import Synchronization

/// What all connections of a process share: one thread for their sockets, and a few for calls that block.
final class PostgresRuntime: Sendable {
    let poller: Poller
    let resolvers = BlockingThreads(name: "pg-resolve", limit: 4)
    let cancellers = BlockingThreads(name: "pg-cancel", limit: 4)
    let connectGate = Gate(longestWait: .milliseconds(250))

    /// The clock by which everything on this runtime waits.
    var clock: any MonotonicClock { poller.clock }

    /// Makes a runtime of its own, which a test does to move its clock by hand.
    ///
    /// - Throws: `PostgresError` when the process cannot start the thread.
    init(clock: any MonotonicClock = ContinuousClock()) throws {
        do {
            poller = try Poller(name: "pg-poller", clock: clock)
        } catch {
            throw PostgresError(.connection, "cannot start the thread for database connections", underlying: [error])
        }
    }

    /// The thread holds the poller, so the end of the runtime has to end the thread.
    deinit { poller.stop() }

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
