import Polling
import Synchronization

/// The threads that connections share: one for their sockets, and a few for calls that block.
///
/// All connections that use the system's clock have one runtime.
final class PostgresRuntime: Sendable {
    let poller: Poller
    let resolvers = BlockingThreads(name: "pg-resolve", limit: 4)
    let cancellers = BlockingThreads(name: "pg-cancel", limit: 4)
    let connectGate = Gate(longestWait: .milliseconds(250))

    /// The clock of everything on this runtime.
    var clock: any MonotonicClock { poller.clock }

    /// Makes a runtime.
    ///
    /// - Parameter clock: The clock of everything on this runtime.
    /// - Throws: `PostgresError` if the process cannot start the thread.
    init(clock: any MonotonicClock) throws {
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

    private static let shared = Mutex<PostgresRuntime?>(nil)

    /// Returns the runtime for a clock.
    ///
    /// The one for the system's clock is made at the first use and never ends. Any other clock, which a test moves by hand,
    /// gets a new runtime.
    ///
    /// - Parameter clock: The clock of everything on the runtime.
    /// - Returns: The runtime.
    /// - Throws: `PostgresError` if the process cannot start the thread.
    static func using(_ clock: any MonotonicClock) throws -> PostgresRuntime {
        guard clock is ContinuousClock else { return try PostgresRuntime(clock: clock) }
        return try shared.withLock { shared in
            if let shared { return shared }
            let made = try PostgresRuntime(clock: clock)
            shared = made
            return made
        }
    }
}
