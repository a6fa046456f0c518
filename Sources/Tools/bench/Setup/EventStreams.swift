import Foundation
import Subprocess
import SystemPackage

/// Event streams that the load generator `sseload` holds open.
struct EventStreams {
    /// The distribution of values in milliseconds; nil without values.
    struct Spread: Decodable, Sendable {
        var count: Int
        var p50: Double?
        var p99: Double?
        var max: Double?
    }

    /// The result of the opening.
    struct Opening: Decodable, Sendable {
        var asked: Int
        var open: Int
        var refused: Int
        var refusedStatus: Int
        var unanswered: Int
        var seconds: Double
        /// The time from the beginning of each connection to the first event, or to the head of the response.
        var openingMs: Spread
    }

    /// The events since the last report.
    struct Arrivals: Decodable, Sendable {
        var seconds: Double
        var events: Int
        var heartbeats: Int
        /// The number of streams that the server has ended.
        var ended: Int
        var latencyMs: Spread
        var revoked: [Revocation]
    }

    /// The arrival of `event: revoked` at a client.
    struct Revocation: Decodable, Sendable {
        /// The number of the stream, from 0, in the order of the targets.
        var stream: Int
        /// In microseconds since 1970.
        var at: Int
    }

    /// The streams to open.
    struct Plan: Sendable {
        var program: String
        var port: Int
        /// The path of the file of targets, as in `sseload --help`.
        var targets: String
        var count: Int
        /// Further options of `sseload`.
        var options: [String] = []
        var log: String
    }

    let opening: Opening
    private let lines: Lines
    private let input: StandardInputWriter
    private let execution: ProcessIdentifier

    /// Opens streams, lends them when each is open or refused, and closes them.
    ///
    /// - Throws: `BenchmarkError` when not all of them are open.
    static func lend<Result: Sendable>(
        _ plan: Plan, _ body: (EventStreams) async throws -> Result
    ) async throws -> Result {
        try await begin(plan) { try await body($0.opened()) }
    }

    /// Opens the streams of several plans at the same time, lends them when all are open, and closes them.
    ///
    /// - Throws: `BenchmarkError` when not all of them are open.
    static func lendAll<Result: Sendable>(
        _ plans: [Plan], _ body: ([EventStreams]) async throws -> Result
    ) async throws -> Result {
        try await lendAll(plans[...], after: [], body)
    }

    private static func lendAll<Result: Sendable>(
        _ plans: ArraySlice<Plan>, after begun: [Beginning], _ body: ([EventStreams]) async throws -> Result
    ) async throws -> Result {
        if let plan = plans.first {
            return try await begin(plan) { try await lendAll(plans.dropFirst(), after: begun + [$0], body) }
        }
        var open: [EventStreams] = []
        for beginning in begun { open.append(try await beginning.opened()) }
        return try await body(open)
    }

    /// Streams that are about to open.
    private struct Beginning {
        let lines: Lines
        let input: StandardInputWriter
        let execution: ProcessIdentifier
        let log: String

        /// Waits until each stream is open or refused.
        ///
        /// - Throws: `BenchmarkError` when not all of them are open.
        func opened() async throws -> EventStreams {
            let opening = try await lines.next(Opening.self)
            guard opening.open == opening.asked else {
                // Without a status, the log has the cause.
                let reason =
                    opening.refused > 0 && opening.refusedStatus == 0
                    ? ServerProcess.endOfLog(log) : "status \(opening.refusedStatus)"
                throw BenchmarkError(
                    """
                    of \(opening.asked) streams, \(opening.refused) were refused (\(reason)) \
                    and \(opening.unanswered) not answered
                    """)
            }
            return EventStreams(opening: opening, lines: lines, input: input, execution: execution)
        }
    }

    /// Begins to open streams, and closes them after `body`.
    private static func begin<Result: Sendable>(
        _ plan: Plan, _ body: (Beginning) async throws -> Result
    ) async throws -> Result {
        let errors = try FileDescriptor.open(
            FilePath(plan.log), .writeOnly, options: [.create, .append], permissions: .ownerReadWrite)
        defer { try? errors.close() }
        var options = PlatformOptions()
        options.processGroupID = 0
        options.teardownSequence = ServerProcess.ending
        return try await Subprocess.run(
            .path(FilePath(plan.program)),
            arguments: Arguments(plan.options + ["127.0.0.1", "\(plan.port)", plan.targets, "\(plan.count)"]),
            environment: .custom(ServerProcess.variables([:])), platformOptions: options, input: .inputWriter,
            output: .sequence, error: .fileDescriptor(errors, closeAfterSpawningProcess: false)
        ) { execution in
            do {
                let beginning = Beginning(
                    lines: Lines(execution.standardOutput), input: execution.standardInputWriter,
                    execution: execution.processIdentifier, log: plan.log)
                let result = try await body(beginning)
                await execution.teardown(using: ServerProcess.ending)
                return result
            } catch {
                await execution.teardown(using: ServerProcess.ending)
                throw error
            }
        }.closureResult
    }

    /// Reports the events since the last report.
    func report() async throws -> Arrivals { try await arrivals(of: 0, within: .zero) {} }

    /// Runs `action`, and waits until its events have arrived.
    ///
    /// It waits for `count` latencies since the last report, but no longer than `limit`.
    ///
    /// - Returns: The events since the last report.
    /// - Throws: The error of `action`; `BenchmarkError` when the load generator has ended.
    func arrivals(of count: Int, within limit: Duration, _ action: () async throws -> Void) async throws -> Arrivals {
        _ = try await input.write("await \(count) \(limit / .seconds(1))\n")
        try await action()
        return try await lines.next(Arrivals.self)
    }

    /// Stops the client while `body` runs: it reads nothing, and its sockets stay open.
    func stopped<Result>(_ body: () async throws -> Result) async throws -> Result {
        kill(execution.value, SIGSTOP)
        defer { kill(execution.value, SIGCONT) }
        return try await body()
    }

    /// Reads the lines of the load generator, one JSON object each.
    private final class Lines {
        private var iterator: SubprocessOutputSequence.StringSequence<UTF8>.AsyncIterator
        private let decoder = JSONDecoder()

        init(_ output: SubprocessOutputSequence) {
            iterator = output.strings().makeAsyncIterator()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
        }

        func next<Value: Decodable>(_ type: Value.Type) async throws -> Value {
            guard let line = try await iterator.next() else {
                try Task.checkCancellation()
                throw BenchmarkError("the load generator has ended")
            }
            return try decoder.decode(type, from: Data(line.utf8))
        }
    }
}
