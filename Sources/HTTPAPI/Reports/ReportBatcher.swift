public import Logging
import Postgres
public import ServiceLifecycle
public import Store

/// Writes the reports of a batch.
protocol ReportWriter: Sendable {
    /// Writes reports in one transaction; see `ProgressStore`.
    func report(_ reports: [CallerReport], waits: Bool) async throws -> [ReportOutcome]
}

extension ProgressStore: ReportWriter {}

/// Gathers the reports of all sessions and callers that arrive while a statement runs, and writes them in one transaction.
///
/// A lone report is written at once. A transaction with many reports waits for one commit. A commit that notifies also
/// holds a lock of the whole cluster. Each caller gets the outcomes of its own reports.
///
/// Only one statement runs at a time. This costs little, because a statement takes less time than parsing its requests.
/// A change of rights waits for the statement that holds the caller's row. With one statement at a time, it never waits
/// for a chain of them.
public actor ReportBatcher: Service {
    /// Why the batcher did not accept reports.
    enum Refusal: Error {
        /// Too many reports already wait.
        case full
        /// The server is shutting down.
        case closed
    }

    private let writer: any ReportWriter
    private let logger: Logger
    private var gathering: ReportGathering
    private var callers: [Int: CheckedContinuation<[ReportOutcome], any Error>] = [:]
    private var lastRequest = 0
    /// True once the batcher accepts no more reports.
    private(set) var isClosed = false
    /// The actions that ``run()`` performs.
    ///
    /// The gathering limits their number.
    private let actions = AsyncStream.makeStream(of: ReportGathering.Action.self)

    /// A batcher that writes with `progress` while it runs.
    ///
    /// - Parameters:
    ///   - progress: Writes the reports.
    ///   - logger: Takes the log.
    public init(progress: ProgressStore, logger: Logger) {
        self.init(writer: progress, limits: ReportGathering.Limits(), logger: logger)
    }

    init(writer: any ReportWriter, limits: ReportGathering.Limits, logger: Logger) {
        self.writer = writer
        self.logger = logger
        gathering = ReportGathering(limits: limits)
    }

    /// How many reports wait.
    var waitingReports: Int { gathering.waitingReports }

    /// Writes reports in one transaction, in this order.
    ///
    /// A caller that is cancelled learns no outcome. Its reports may or may not be written, and other callers' reports
    /// go on.
    ///
    /// - Parameter reports: The reports, at most as many as one statement takes.
    /// - Returns: An outcome for each report, in the order given.
    /// - Throws: ``Refusal``, or the error of the whole statement.
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
            // Unstructured: a cancellation handler cannot wait. This task ends in a moment.
            Task { await self.cancel(request.id) }
        }
    }

    /// Writes reports until the graceful shutdown, and then the reports accepted before it.
    public func run() async throws {
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                for await action in actions.stream {
                    group.addTask { await self.perform(action) }
                }
            }
        } onGracefulShutdown: {
            // Unstructured: this handler cannot wait either.
            Task { await self.close() }
        }
        // Without a graceful shutdown this task was cancelled, and the remaining callers would wait forever.
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

    /// Performs an action, and the actions that follow from it.
    private func perform(_ action: ReportGathering.Action) async {
        var action = action
        while case .write(let batch) = action { action = await write(batch) }
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
                    "writing reports again",
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
