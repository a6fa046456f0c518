import Logging
import UnixSignals

/// What the process does at each signal, from the first line of its start to its end.
struct ProcessSignals: Sendable {
    /// Receives SIGTERM and SIGINT.
    let stop: StopRequest
    /// Runs at SIGHUP.
    let reload: @Sendable () async -> Void
    let logger: Logger

    /// Handles signals while `body` runs.
    ///
    /// The default of SIGHUP, SIGUSR1 and SIGUSR2 would end the process without a word.
    func handled<Value: Sendable>(during body: () async throws -> Value) async throws -> Value {
        let signals = await UnixSignalsSequence(trapping: [.sigterm, .sigint, .sighup, .sigusr1, .sigusr2])
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { for await signal in signals { await handle(signal) } }
            defer { group.cancelAll() }
            return try await body()
        }
    }

    private func handle(_ signal: UnixSignal) async {
        switch signal {
        case .sigterm, .sigint:
            logger.info("signal received, stopping", metadata: ["signal": "\(signal)"])
            stop.request()
        case .sighup:
            logger.info(
                "signal received, reading the level of the log and the files of keys again",
                metadata: ["signal": "\(signal)"])
            await reload()
        default:
            logger.notice("signal received, which means nothing to this program", metadata: ["signal": "\(signal)"])
        }
    }
}
