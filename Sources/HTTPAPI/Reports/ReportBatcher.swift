public import Logging
public import Polling
import Postgres
public import ServiceLifecycle
public import Store

/// Writes what was gathered.
protocol ReportWriter: Sendable {
    /// Writes reports in one transaction; see `ProgressStore`.
    func report(_ reports: [CallerReport], waits: Bool) async throws -> [ReportOutcome]
}

extension ProgressStore: ReportWriter {}

/// Gathers reports over all sessions and callers for a few milliseconds, and writes them in one transaction.
///
/// A commit is waited for once, however many reports are in it, and one that notifies holds a lock of the whole cluster
/// until then. Each caller gets what came of its own reports.
///
/// One statement at a time: it is faster than requests can be parsed, and a change of rights, which waits for the
/// statements that hold the caller, waits for one and never for a chain of them.
public actor ReportBatcher: Service {
    /// Why reports were not taken.
    enum Refusal: Error {
        /// Too many wait already.
        case full
        /// The server shuts down.
        case closed
    }

    /// How long reports are gathered when no statement is under way.
    static let pause = Duration.milliseconds(2)

    private let writer: any ReportWriter
    private let clock: any MonotonicClock
    private let logger: Logger
    private var gathering: ReportGathering
    private var callers: [Int: CheckedContinuation<[ReportOutcome], any Error>] = [:]
    private var lastRequest = 0
    /// Whether no more is taken in.
    private(set) var isClosed = false
    /// What ``run()`` is to do; the gathering bounds how much that is.
    private let actions = AsyncStream.makeStream(of: ReportGathering.Action.self)

    /// Writes with `progress` once it runs.
    ///
    /// - Parameter clock: The clock by which reports are gathered.
    public init(progress: ProgressStore, clock: any MonotonicClock, logger: Logger) {
        self.init(writer: progress, limits: ReportGathering.Limits(), clock: clock, logger: logger)
    }

    init(
        writer: any ReportWriter, limits: ReportGathering.Limits, clock: any MonotonicClock, logger: Logger
    ) {
        self.writer = writer
        self.clock = clock
        self.logger = logger
        gathering = ReportGathering(limits: limits)
    }

    /// How many reports are in line.
    var waitingReports: Int { gathering.waitingReports }

    /// Reports together: in one transaction, in this order.
    ///
    /// Whoever is cancelled learns nothing more of its reports, which may or may not be written, and the others' go on.
    ///
    /// - Parameter reports: At most as many as fit into one statement.
    /// - Returns: An outcome for each, in the order given.
    /// - Throws: ``Refusal``, or what befell the whole statement.
    func report(_ reports: [CallerReport]) async throws -> [ReportOutcome] {
        lastRequest += 1
        let request = ReportGathering.Request(id: lastRequest, reports: reports)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                if Task.isCancelled { return continuation.resume(throwing: CancellationError()) }
                if isClosed { return continuation.resume(throwing: Refusal.closed) }
                guard let action = gathering.submit(request) else {
                    return continuation.resume(throwing: Refusal.full)
                }
                callers[request.id] = continuation
                actions.continuation.yield(action)
            }
        } onCancel: {
            // Not structured: a cancellation handler cannot wait. What it does is over in a moment.
            Task { await self.cancel(request.id) }
        }
    }

    /// Writes what is reported until the graceful shutdown, and then what was taken in before it.
    public func run() async throws {
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                for await action in actions.stream {
                    group.addTask { await self.perform(action) }
                }
            }
        } onGracefulShutdown: {
            // Not structured: this handler cannot wait either.
            Task { await self.close() }
        }
        // Without a graceful shutdown this was cancelled, and whoever still waits would wait for ever.
        close()
        for caller in callers.values { caller.resume(throwing: Refusal.closed) }
        callers = [:]
    }

    private func close() {
        isClosed = true
        actions.continuation.finish()
    }

    private func cancel(_ request: Int) {
        guard let caller = callers.removeValue(forKey: request) else { return }
        gathering.cancel(request)
        caller.resume(throwing: CancellationError())
    }

    /// Does what is to be done, and what follows from it.
    private func perform(_ action: ReportGathering.Action) async {
        var action = action
        while true {
            switch action {
            case .nothing: return
            case .pause:
                try? await clock.sleep(for: Self.pause)
                action = gathering.pauseEnded()
            case .write(let batch): action = await write(batch)
            }
        }
    }

    private func write(_ batch: ReportGathering.Batch) async -> ReportGathering.Action {
        do {
            let outcomes = try await writer.report(batch.reports, waits: batch.waits)
            let action = gathering.wrote(batch, outcomes)
            var start = outcomes.startIndex
            for request in batch.requests {
                let end = start + request.reports.count
                callers.removeValue(forKey: request.id)?.resume(returning: Array(outcomes[start..<end]))
                start = end
            }
            return action
        } catch {
            let (isOver, action) = gathering.failed(batch, ReportGathering.Failure(error))
            if isOver {
                for request in batch.requests { callers.removeValue(forKey: request.id)?.resume(throwing: error) }
            } else {
                logger.notice(
                    "reports are written once more",
                    metadata: ["reports": "\(batch.reports.count)", "error": "\(error)"])
            }
            return action
        }
    }
}

extension ReportGathering.Failure {
    init(_ error: any Error) {
        let state = (error as? PostgresError)?.sqlState
        switch (state, state?.errorClass) {
        case (.deadlockDetected, _), (.serializationFailure, _): self = .conflict
        case (.lockNotAvailable, _): self = .locked
        case (_, "22"), (_, "23"): self = .badValue
        default: self = .other
        }
    }
}
