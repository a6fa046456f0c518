import AsyncAlgorithms
import Domain
import Logging
import Postgres
import Store
import Synchronization

/// The lease of one job: extends it, notices its loss, and repeats statements while it lasts.
final class JobLease: Sendable {
    /// Why a job cannot go on.
    enum Loss: Error {
        /// Another worker has claimed the session, or it was deleted, cancelled or failed.
        case notOurs
        /// The database answers, but has not taken one statement for the length of a lease.
        case database(PostgresError)
    }

    /// The pause between two looks at the lease without a hint.
    private static let lookInterval = Duration.seconds(2)
    /// The number of looks after which the lease is extended: a third of its length.
    private static let looksToExtend = 10
    /// The number of extensions after which a statement that always fails is given up: the length of a lease.
    private static let extensionsToGiveUp = 3

    private let claim: ClaimedSession
    private let tools: PipelineTools
    /// How often the lease was extended.
    private let extensions = Atomic(0)
    /// True once the job has sent a statement that ends its lease.
    private let isEnding = Atomic(false)

    init(claim: ClaimedSession, tools: PipelineTools) {
        self.claim = claim
        self.tools = tools
    }

    /// Extends the lease while `work` runs.
    ///
    /// Cancels the work when the lease is lost.
    ///
    /// - Returns: The value of the work.
    /// - Throws: The error of the work; ``Loss/notOurs``.
    func kept<Value: Sendable>(_ work: @escaping @Sendable () async throws -> Value) async throws -> Value {
        try await withThrowingTaskGroup(of: Value?.self) { group in
            group.addTask { try await work() }
            group.addTask { [self] in
                try await keep(by: tools.clock)
                return nil
            }
            defer { group.cancelAll() }
            // Keeping never ends by itself. The first to end is therefore the work, or the loss of the lease.
            guard let value = try await group.next() ?? nil else { throw CancellationError() }
            return value
        }
    }

    /// Repeats a last statement of the job while the lease is kept.
    ///
    /// The statement ends the lease.
    ///
    /// - Returns: The value of the operation.
    /// - Throws: The errors of ``kept(_:)`` and ``ending(_:)``.
    @discardableResult
    func lastly<Value: Sendable>(_ operation: @escaping @Sendable () async throws -> Value) async throws -> Value {
        try await kept { [self] in try await ending(operation) }
    }

    /// Repeats a statement that ends the lease, as ``persistently(_:)`` does.
    ///
    /// Its commit sends a hint, and the look at the lease finds none before the statement returns. From now on, a missing
    /// lease is therefore no loss: the statement itself finds out whether the session belongs to this worker.
    ///
    /// - Returns: The value of the operation.
    /// - Throws: The errors of ``persistently(_:)``.
    @discardableResult
    func ending<Value: Sendable>(_ operation: () async throws -> Value) async throws -> Value {
        isEnding.store(true, ordering: .sequentiallyConsistent)
        return try await persistently(operation)
    }

    /// Repeats an operation while the database is away.
    ///
    /// If the database answers, and refuses this operation for the length of a lease, it is given up. While the database does
    /// not answer at all, the job keeps its result.
    ///
    /// - Returns: The value of the operation.
    /// - Throws: ``Loss``; the error of the operation; `CancellationError`.
    @discardableResult
    func persistently<Result: Sendable>(_ operation: () async throws -> Result) async throws -> Result {
        var isRenewed = false
        var limit: Int?
        while true {
            do {
                return try await operation()
            } catch let error as PostgresError where error.isTransient {
                // A full queue of notifications stops every writer. It is no fault of this operation.
                if !error.isNotificationQueueFull {
                    let extended = extensions.load(ordering: .relaxed)
                    if let limit, extended >= limit { throw Loss.database(error) }
                    limit = limit ?? extended + Self.extensionsToGiveUp
                }
                log(.warning, "database away, trying again", ["error": "\(error)"])
                try await tools.clock.sleep(for: .seconds(1))
            } catch let error as PostgresError where error.isLeaseFault && !isRenewed {
                try await renew()
                isRenewed = true
            } catch let error as PostgresError where error.isRefusal {
                throw Loss.notOurs
            }
        }
    }

    /// Extends a lease that does not stand.
    ///
    /// It has run out while the database was away, or the session belongs to another worker.
    ///
    /// - Throws: ``Loss/notOurs`` when the session belongs to this worker no more.
    func renew() async throws {
        let isKept = try await persistently {
            try await tools.stores.queue.keepLease(of: claim, lease: PipelineWorker.lease)
        }
        guard isKept else { throw Loss.notOurs }
        log(.notice, "lease ran out and was extended")
    }

    /// Looks at the lease at each hint and every two seconds, and extends it every twenty.
    private func keep(by clock: some Clock<Duration>) async throws {
        let hints = tools.hints.hints(of: claim.session, attempt: claim.attempt).map { false }
        let looks = AsyncTimerSequence(interval: Self.lookInterval, clock: clock).map { _ in true }
        var count = 0
        for await isRegular in merge(hints, looks) {
            if isRegular { count += 1 }
            let extends = count >= Self.looksToExtend
            if extends { count = 0 }
            do {
                let isOurs =
                    extends
                    ? try await tools.stores.queue.keepLease(of: claim, lease: PipelineWorker.lease)
                    : try await tools.stores.queue.hasLease(claim)
                guard isOurs || isEnding.load(ordering: .sequentiallyConsistent) else { throw Loss.notOurs }
                if extends { extensions.add(1, ordering: .relaxed) }
            } catch let error as PostgresError where error.isTransient {
                // If the database stays away until the lease ends, the next claim raises the attempt. The database then
                // refuses the next report of this worker.
                if extends { log(.warning, "lease not extended", ["error": "\(error)"]) }
            }
        }
        // The loop ends only with its task.
        throw CancellationError()
    }

    private func log(_ level: Logger.Level, _ message: Logger.Message, _ metadata: Logger.Metadata = [:]) {
        tools.log(level, message, of: claim, metadata)
    }
}

extension PostgresError {
    /// True if the database refused the report: by the state machine, because of a higher attempt or another worker's
    /// lease, or without a session.
    var isRefusal: Bool { sqlState == .checkViolation || sqlState == .noDataFound || isLeaseFault }
}
