import Foundation
import NIOCore
import Postgres

/// The number of progress reports per second.
///
/// Each report is on disk before it is answered.
struct ReportThroughput: Scenario {
    static let name = "report-throughput"
    static let summary = "progress reports per second"

    func run(on bed: TestBed) async throws -> [Finding] {
        let seconds = bed.isQuick ? 3 : 10
        // The server listens at the same time, because notifying costs time, too.
        return try await bed.withServer { server in
            let batches = try await outcome { try await ReportBatches(server: server, bed: bed).run(seconds: seconds) }
            // Each client reports on many sessions in turn. Each session was quiet for half a second. Therefore each
            // report notifies.
            let announced = try await outcome { try await reportsBySQL(on: bed, sessions: 1000, seconds: seconds) }
            // Each client reports on one session, much more often than every half second. Most reports do not notify.
            let between = try await outcome { try await reportsBySQL(on: bed, sessions: 1, seconds: seconds) }
            let lone = LoneReports(server: server, bed: bed, count: bed.isQuick ? 100 : 1000)
            let bySQL = try await lone.bySQL()
            let byHTTP = try await outcome { .measured(try await lone.byHTTP()) }
            return [
                Finding(
                    """
                    Reports by HTTP, \(ReportBatches.connections) connections, batches of \
                    \(counted(ReportBatches.size, "reports")) on as many sessions
                    """, batches, target: .atLeast(60_000)),
                Finding(
                    "Reports by SQL, 8 clients, each announced by NOTIFY", announced, target: .atLeast(4000)),
                Finding("Reports by SQL, 8 clients, between announcements", between, target: .atLeast(14_000)),
                Finding(
                    "A lone report by HTTP, until it is on disk and answered, one after the other, p50", byHTTP,
                    peers: [PeerFigure(name: "the same by SQL", outcome: .measured(bySQL))]),
            ]
        }
    }

    /// Measures, and turns an error into a failed outcome, so that the other measurements still run.
    private func outcome(_ measure: () async throws -> Finding.Outcome) async throws -> Finding.Outcome {
        do {
            return try await measure()
        } catch {
            try Task.checkCancellation()
            return .failed("\(error)")
        }
    }

    /// Calls `app.report_progress` from 8 connections of pgbench, as a pipeline with SQL does.
    ///
    /// Each client reports on `sessions` sessions in turn.
    private func reportsBySQL(on bed: TestBed, sessions: Int, seconds: Int) async throws -> Finding.Outcome {
        let clients = 8
        let perClient = min(sessions, bed.database.patients / clients)
        let script = """
            \\set session 1 + :client_id * \(perClient) + :turn % \(perClient)
            SELECT app.report_progress(\(BenchDatabase.idExpression(.session, ":session")), 'transcribing', 40,
                'report ' || :turn || ' at ' || clock_timestamp());
            """
        let before = try await bed.database.changes()
        let reports = try await Pgbench(
            clients: clients, limit: .seconds(seconds), role: "therapybridge_pipeline", script: script
        ).run(on: bed)
        let changes = try await bed.database.changes() - before
        guard changes == reports.transactions else {
            throw BenchmarkError("\(reports.transactions) reports were answered, but \(changes) are in the database")
        }
        return .measured(Figure(reports.perSecond, .perSecond))
    }
}

/// Sends reports by `POST /api/progress`.
private struct ReportBatches {
    static let connections = 4
    /// The number of reports in a request: the most that the server accepts.
    static let size = 1000

    let server: BenchServer
    let bed: TestBed

    /// Sends one batch after the other on each connection.
    func run(seconds: Int) async throws -> Finding.Outcome {
        let token = try await bed.database.tokens(of: .pipeline, 1..<2)[0]
        let probe = try await post(port: server.port, "/api/progress", #"{"reports": []}"#, token: token)
        if probe.status == 404 { return .notAvailable("this server has no route for batches") }
        let sessions = min(Self.size, bed.database.patients / Self.connections)
        let before = try await bed.database.changes()
        let start = ContinuousClock.now
        let deadline = start + .seconds(seconds)
        let accepted = try await withThrowingTaskGroup(of: Int.self) { group in
            for connection in 0..<Self.connections {
                group.addTask {
                    var accepted = 0
                    var turn = 0
                    repeat {
                        turn += 1
                        accepted += try await send(connection * sessions + 1, sessions, turn: turn, token: token)
                    } while ContinuousClock.now < deadline
                    return accepted
                }
            }
            return try await group.reduce(0, +)
        }
        let time = (ContinuousClock.now - start) / .seconds(1)
        let changes = try await bed.database.changes() - before
        guard changes == accepted else {
            throw BenchmarkError("\(accepted) reports were accepted, but \(changes) are in the database")
        }
        return .measured(Figure(Double(accepted) / time, .perSecond))
    }

    private struct Answer: Decodable {
        struct Result: Decodable {
            var version: Int64?
        }
        var results: [Result]
    }

    /// Sends one batch.
    ///
    /// Each `turn` has another message.
    ///
    /// - Returns: The number of accepted reports.
    /// - Throws: `BenchmarkError` when the server did not accept all.
    private func send(_ first: Int, _ count: Int, turn: Int, token: String) async throws -> Int {
        let reports = (first..<first + count).map { number in
            """
            {"session_id":"\(BenchDatabase.id(.session, number))","status":"transcribing","progress":40,\
            "message":"batch \(turn)"}
            """
        }
        let json = #"{"reports":["# + reports.joined(separator: ",") + "]}"
        let (status, body) = try await post(port: server.port, "/api/progress", json, token: token)
        guard status == 200 else { throw BenchmarkError("a batch was answered with \(status)") }
        let answer = try JSONDecoder().decode(Answer.self, from: Data(body.readableBytesView))
        let accepted = answer.results.count { $0.version != nil }
        guard accepted == count else { throw BenchmarkError("only \(accepted) of \(count) reports were accepted") }
        return accepted
    }
}

/// Reports of which each waits for the answer to the one before, as those of a pipeline with one session do.
private struct LoneReports {
    let server: BenchServer
    let bed: TestBed
    let count: Int

    /// - Returns: The median time of a report by `POST /api/sessions/{id}/progress`.
    func byHTTP() async throws -> Figure {
        let token = try await bed.database.tokens(of: .pipeline, 1..<2)[0]
        return try await median { session, number in
            let path = "/api/sessions/\(BenchDatabase.id(.session, session))/progress"
            let report = #"{"status": "transcribing", "progress": 40, "message": "lone \#(number)"}"#
            let (status, _) = try await post(port: server.port, path, report, token: token)
            guard status == 200 else { throw BenchmarkError("a report was answered with \(status)") }
        }
    }

    /// - Returns: The median time of a call of `app.report_progress`.
    func bySQL() async throws -> Figure {
        try await bed.database.withConnection { connection in
            try await median { session, number in
                _ = try await connection.query(reportQuery(session: session, words: "\(number)"))
            }
        }
    }

    /// Every report notifies, because its session was quiet for half a second.
    private func median(_ report: (_ session: Int, _ number: Int) async throws -> Void) async throws -> Figure {
        let sessions = min(1000, bed.database.patients)
        var times: [Double] = []
        for number in 0..<count {
            let start = ContinuousClock.now
            try await report(1 + number % sessions, number)
            times.append((ContinuousClock.now - start) / .milliseconds(1))
        }
        return Figure(times.median, .milliseconds)
    }
}
