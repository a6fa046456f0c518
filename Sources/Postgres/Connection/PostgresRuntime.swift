import Polling
import Synchronization

/// The threads that all connections of a process share: one for their sockets, and a few for calls that block.
final class PostgresRuntime: Sendable {
    let poller: Poller
    let resolvers = BlockingThreads(name: "pg-resolve", limit: 4)
    let cancellers = BlockingThreads(name: "pg-cancel", limit: 4)
    let connectGate = Gate(longestWait: .milliseconds(250))

    /// The clock of everything on this runtime.
    var clock: any MonotonicClock { poller.clock }

    /// Makes a runtime.
    ///
    /// A test makes its own, to move its clock by hand.
    ///
    /// - Parameter clock: The clock of everything on this runtime.
    /// - Throws: `PostgresError` if the process cannot start the thread.
    init(clock: any MonotonicClock = ContinuousClock()) throws {
        do {
            poller = try Poller(name: "pg-poller", clock: clock)
        } catch {
            throw PostgresError(.connection, "cannot start the thread for database connections", underlying: [error])
        }
    }

    /// The thread keeps the poller alive.
    ///
    /// The end of the runtime must therefore end the thread.
    deinit { poller.stop() }

    private static let instance = Mutex<PostgresRuntime?>(nil)

    /// Returns the runtime of this process, which is made at the first use and never ends.
    ///
    /// - Returns: The runtime.
    /// - Throws: `PostgresError` if the process cannot start the thread.
    static func shared() throws -> PostgresRuntime {
        try instance.withLock { instance in
            if let instance { return instance }
            let made = try PostgresRuntime()
            instance = made
            return made
        }
    }
}
