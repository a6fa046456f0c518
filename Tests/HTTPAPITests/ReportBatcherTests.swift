import Domain
import Logging
import Postgres
import ServiceLifecycle
import Store
import TestSupport
import Testing

@testable import HTTPAPI

/// The outcomes that each caller of a batch gets.
@Suite(.deadline) struct ReportBatcherTests {
    /// A database that the test controls.
    ///
    /// It records each call, and answers when the test says.
    private final class Writer: ReportWriter {
        struct Call: Sendable {
            let reports: [CallerReport]
            let waits: Bool
        }

        private let calls = AsyncStream.makeStream(of: Call.self)
        private let answers = AsyncStream.makeStream(of: Result<[ReportOutcome], any Error>.self)

        /// The next call.
        ///
        /// The writer waits for its answer.
        func nextCall() async throws -> Call {
            try await within("a statement for the database") {
                for await call in calls.stream { return call }
                throw CancellationError()
            }
        }

        func answer(_ outcomes: [ReportOutcome]) { answers.continuation.yield(.success(outcomes)) }
        func fail(_ error: any Error) { answers.continuation.yield(.failure(error)) }

        func report(_ reports: [CallerReport], waits: Bool) async throws -> [ReportOutcome] {
            calls.continuation.yield(Call(reports: reports, waits: waits))
            for await answer in answers.stream { return try answer.get() }
            throw CancellationError()
        }
    }

    private static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private struct Trouble: Error, Equatable {}

    private func report(_ progress: Int) -> CallerReport {
        CallerReport(
            ProgressReport(sessionID: .random(), status: .transcribing, progress: progress), user: .random(),
            signIn: .random())
    }

    private func versions(_ versions: Int64...) -> [ReportOutcome] {
        versions.map { .accepted(version: $0, progress: nil) }
    }

    private func withBatcher(
        _ limits: ReportGathering.Limits = .init(),
        _ body: @escaping @Sendable (ReportBatcher, Writer) async throws -> Void
    ) async throws {
        let writer = Writer()
        let batcher = ReportBatcher(writer: writer, limits: limits, logger: Self.logger)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await batcher.run() }
            defer { group.cancelAll() }
            try await body(batcher, writer)
        }
    }

    /// Sends a first request.
    ///
    /// Until its answer, the next requests gather.
    private func occupy(_ batcher: ReportBatcher, _ writer: Writer) async throws -> Task<[ReportOutcome], any Error> {
        let report = report(0)
        let task = Task { try await batcher.report([report]) }
        _ = try await writer.nextCall()
        return task
    }

    @Test("A lone request is written at once, and requests that arrive meanwhile are written together")
    func gathers() async throws {
        try await withBatcher { batcher, writer in
            let reports = [report(1), report(2), report(3)]
            async let lone = batcher.report([reports[0]])
            #expect(try await writer.nextCall().reports == [reports[0]])
            async let one = batcher.report([reports[1]])
            try await batcher.untilWaiting(1)
            async let other = batcher.report([reports[2]])
            try await batcher.untilWaiting(2)
            writer.answer(versions(1))
            #expect(try await writer.nextCall().reports == [reports[1], reports[2]])
            writer.answer(versions(2, 3))
            #expect(try await lone == versions(1))
            #expect(try await one == versions(2))
            #expect(try await other == versions(3))
        }
    }

    @Test("Each caller gets the outcomes of its own reports, in its order")
    func outcomes() async throws {
        try await withBatcher { batcher, writer in
            let first = try await occupy(batcher, writer)
            let reports = (1...4).map { report($0) }
            async let one = batcher.report([reports[0], reports[1]])
            try await batcher.untilWaiting(2)
            async let other = batcher.report([reports[2]])
            try await batcher.untilWaiting(3)
            async let last = batcher.report([reports[3]])
            try await batcher.untilWaiting(4)
            writer.answer(versions(1))
            let call = try await writer.nextCall()
            #expect(call.reports == reports)
            #expect(call.waits)
            let refused = ReportOutcome.refused(.database(.noDataFound, code: "unknown_session"))
            writer.answer(versions(5, 6) + [refused] + versions(8))
            #expect(try await first.value == versions(1))
            #expect(try await one == versions(5, 6))
            #expect(try await other == [refused])
            #expect(try await last == versions(8))
        }
    }

    @Test("If the whole statement fails, all its callers get the error, and the next requests go on")
    func failure() async throws {
        try await withBatcher { batcher, writer in
            let first = try await occupy(batcher, writer)
            let reports = [report(1), report(2)]
            let others = reports.map { report in Task { try await batcher.report([report]) } }
            try await batcher.untilWaiting(2)
            writer.answer(versions(1))
            _ = try await first.value
            _ = try await writer.nextCall()
            let next = Task { [last = report(3)] in try await batcher.report([last]) }
            try await batcher.untilWaiting(1)
            writer.fail(Trouble())
            for other in others { await #expect(throws: Trouble.self) { try await other.value } }
            _ = try await writer.nextCall()
            writer.answer(versions(9))
            #expect(try await next.value == versions(9))
        }
    }

    @Test("A cancelled caller returns at once, whether its reports wait or the database has them")
    func cancellation() async throws {
        try await withBatcher { batcher, writer in
            let first = try await occupy(batcher, writer)
            let reports = [report(1), report(2)]
            let inLine = Task { try await batcher.report([reports[0]]) }
            try await batcher.untilWaiting(1)
            let other = Task { try await batcher.report([reports[1]]) }
            try await batcher.untilWaiting(2)
            inLine.cancel()
            await #expect(throws: CancellationError.self) { try await inLine.value }
            first.cancel()
            await #expect(throws: CancellationError.self) { try await first.value }
            writer.answer(versions(1))
            #expect(try await writer.nextCall().reports == [reports[1]])
            writer.answer(versions(2))
            #expect(try await other.value == versions(2))
            let late = Task { [last = report(3)] in
                withUnsafeCurrentTask { $0?.cancel() }
                return try await batcher.report([last])
            }
            await #expect(throws: CancellationError.self) { try await late.value }
        }
    }

    @Test("A request beyond the limit of waiting reports is rejected at once")
    func full() async throws {
        try await withBatcher(.init(batch: 2, waiting: 2, statements: 1)) { batcher, writer in
            let first = try await occupy(batcher, writer)
            let reports = [report(1), report(2), report(3)]
            let waiting = Task { try await batcher.report([reports[0], reports[1]]) }
            try await batcher.untilWaiting(2)
            await #expect(throws: ReportBatcher.Refusal.full) { try await batcher.report([reports[2]]) }
            writer.answer(versions(1))
            _ = try await writer.nextCall()
            writer.answer(versions(2, 3))
            #expect(try await waiting.value == versions(2, 3))
            _ = try await first.value
        }
    }

    @Test("A shutdown writes the accepted reports, and accepts no more")
    func shutdown() async throws {
        let writer = Writer()
        let batcher = ReportBatcher(writer: writer, limits: .init(), logger: Self.logger)
        let services = ServiceGroup(services: [batcher], logger: Self.logger)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await services.run() }
            let first = try await occupy(batcher, writer)
            let waiting = Task { [report = report(1)] in try await batcher.report([report]) }
            try await batcher.untilWaiting(1)
            await services.triggerGracefulShutdown()
            try await batcher.untilClosed()
            await #expect(throws: ReportBatcher.Refusal.closed) { try await batcher.report([report(2)]) }
            writer.answer(versions(1))
            _ = try await writer.nextCall()
            writer.answer(versions(2))
            #expect(try await first.value == versions(1))
            #expect(try await waiting.value == versions(2))
            try await group.waitForAll()
        }
    }

    @Test("The end of the batcher's task ends the wait of every caller")
    func cancelledRun() async throws {
        let writer = Writer()
        let batcher = ReportBatcher(writer: writer, limits: .init(), logger: Self.logger)
        let run = Task { try await batcher.run() }
        let caller = try await occupy(batcher, writer)
        run.cancel()
        try await run.value
        await #expect(throws: CancellationError.self) { try await caller.value }
        await #expect(throws: ReportBatcher.Refusal.closed) { try await batcher.report([report(2)]) }
    }
}

extension ReportBatcher {
    /// Waits until this many reports wait.
    fileprivate func untilWaiting(_ count: Int) async throws {
        try await eventually("\(count) reports in line") { waitingReports == count }
    }

    fileprivate func untilClosed() async throws {
        try await eventually("the batcher is closed") { isClosed }
    }
}
