import Foundation
import TestSupport
import Testing

@testable import bench

/// The load generator.
///
/// If it measures wrong, no figure is right.
@Suite(.deadline) struct LoadGeneratorTests {
    @Test("A stream is open with its first event; another status or `event: unavailable` counts as refused")
    func opening() async throws {
        let answers = [
            "/open": Self.head + Self.chunk("retry: 2000\nid: 1\nevent: progress\ndata: {}\n\n"),
            "/plain": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n\n",
            "/refused": "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            "/unavailable": Self.head + Self.chunk("event: unavailable\ndata: {}\n\n") + "0\r\n\r\n",
        ]
        try await ScriptedServer.lend(answers) { server in
            let opening = try await run(server, ["/open", "/plain", "/refused", "/unavailable"], count: 6).opening
            #expect(opening.asked == 6)
            #expect(opening.open == 4)
            #expect(opening.refused == 2)
            #expect(opening.openingMs.count == 4)
            #expect(opening.unanswered == 0)
        }
    }

    @Test("A refused stream makes the benchmark fail with the status")
    func refused() async throws {
        try await ScriptedServer.lend(["/refused": "HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n"]) { server in
            try await withPlan(server, ["/refused"], count: 3) { plan in
                let error = await #expect(throws: BenchmarkError.self) { try await EventStreams.lend(plan) { _ in } }
                #expect(error?.description == "of 3 streams, 3 were refused (status 503) and 0 not answered")
            }
        }
    }

    @Test(
        "Events, heartbeats and latencies are counted regardless of where the pieces of a stream end",
        arguments: [1, 7, 1000], [true, false])
    func arrivals(pieceLength: Int, isChunked: Bool) async throws {
        let head = isChunked ? Self.head : "HTTP/1.1 200 OK\r\n\r\n"
        func framed(_ text: String, chunk length: Int) -> String {
            isChunked ? Self.chunks(text, length: length) : text
        }
        try await ScriptedServer.lend(["/": head + framed("data: {}\n\n", chunk: 100)]) { server in
            try await withPlan(server, ["/"], count: 2) { plan in
                try await EventStreams.lend(plan) { streams in
                    let sent = Self.microseconds()
                    let event = "id: 2\nevent: progress\ndata: {\"message\":\"t=\(sent)\"}\n\n"
                    let arrivals = try await streams.arrivals(of: 2, within: TestDeadline.event) {
                        try await server.send(
                            framed(": heartbeat\n\n" + event, chunk: 11), pieceLength: pieceLength)
                    }
                    let elapsed = Double(Self.microseconds() - sent) / 1000
                    #expect(arrivals.events == 2)
                    #expect(arrivals.heartbeats == 2)
                    #expect(arrivals.ended == 0)
                    #expect(arrivals.latencyMs.count == 2)
                    let (median, most) = (try #require(arrivals.latencyMs.p50), try #require(arrivals.latencyMs.max))
                    #expect(median > 0)
                    #expect(median <= most)
                    #expect(most <= elapsed)

                    // A repeated event, and an event from before the opening, give no latency.
                    let second = "data: t=\(Self.microseconds())\n\n"
                    let again = try await streams.arrivals(of: 2, within: TestDeadline.event) {
                        try await server.send(
                            framed(event + "data: t=1700000000000000\n\n" + second, chunk: 11), pieceLength: pieceLength
                        )
                    }
                    #expect(again.events == 6)
                    #expect(again.latencyMs.count == 2)
                }
            }
        }
    }

    @Test("A report waits no longer than its limit, and counts the streams that ended")
    func ending() async throws {
        try await ScriptedServer.lend(["/": Self.head + Self.chunk("data: {}\n\n")]) { server in
            try await withPlan(server, ["/"], count: 2) { plan in
                try await EventStreams.lend(plan) { streams in
                    let none = try await streams.arrivals(of: 1, within: .milliseconds(10)) {}
                    #expect(none.latencyMs.count == 0)
                    #expect(none.latencyMs.p50 == nil)
                    try await server.send("0\r\n\r\n", pieceLength: 100)
                    var ended = 0
                    try await eventually("both streams have ended") {
                        ended += try await streams.report().ended
                        return ended == 2
                    }
                }
            }
        }
    }

    @Test("A report names each stream that got `event: revoked`, and the time, once")
    func revocation() async throws {
        try await ScriptedServer.lend(["/": Self.head + Self.chunk("data: {}\n\n")]) { server in
            try await withPlan(server, ["/"], count: 2) { plan in
                try await EventStreams.lend(plan) { streams in
                    let before = Self.microseconds()
                    try await server.send(
                        Self.chunk("event: revoked\ndata: {\"session_id\":\"x\"}\n\n") + "0\r\n\r\n", pieceLength: 7)
                    var revoked: [EventStreams.Revocation] = []
                    try await eventually("both streams were revoked") {
                        revoked += try await streams.report().revoked
                        return revoked.count >= 2
                    }
                    #expect(revoked.map(\.stream).sorted() == [0, 1])
                    #expect(revoked.allSatisfy { (before...Self.microseconds()).contains($0.at) })
                    let later = try await streams.report()
                    #expect(later.revoked.isEmpty)
                }
            }
        }
    }

    @Test(
        "Wrong usage, or a host other than loopback, gives status 64",
        arguments: [
            [], ["127.0.0.1", "80", "targets"], ["10.0.0.1", "80", "targets", "1"],
            ["localhost", "80", "targets", "1"], ["127.0.0.1", "0", "targets", "1"],
            ["127.0.0.1", "80", "targets", "many"], ["--rate", "nan", "127.0.0.1", "80", "targets", "1"],
            ["--open-with", "luck", "127.0.0.1", "80", "targets", "1"],
            ["--bogus", "127.0.0.1", "80", "targets", "1"],
        ])
    func usage(arguments: [String]) async throws {
        let run = try await runProgram(Self.program, arguments)
        #expect(run.status == 64)
        #expect(run.output == "")
        #expect(run.errorOutput.contains("usage: sseload"))
    }

    // MARK: - Support

    private static let program = buildFolder.appending(path: "sseload").path(percentEncoded: false)

    private static let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

    private static func chunk(_ text: String) -> String {
        String(text.utf8.count, radix: 16) + "\r\n" + text + "\r\n"
    }

    /// Splits a text into chunks of a length, regardless of its lines.
    private static func chunks(_ text: String, length: Int) -> String {
        var rest = Substring(text)
        var chunks = ""
        while !rest.isEmpty {
            chunks += chunk(String(rest.prefix(length)))
            rest = rest.dropFirst(length)
        }
        return chunks
    }

    private static func microseconds() -> Int { Int(Date().timeIntervalSince1970 * 1e6) }

    /// Lends a plan for streams of a server, and removes its file of targets afterwards.
    private func withPlan<Result>(
        _ server: ScriptedServer, _ paths: [String], count: Int, _ body: (EventStreams.Plan) async throws -> Result
    ) async throws -> Result {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tb-sseload-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let targets = folder.appending(path: "targets")
        try Data(paths.map { $0 + "\n" }.joined().utf8).write(to: targets)
        return try await body(
            EventStreams.Plan(
                program: Self.program, port: server.port, targets: targets.path(percentEncoded: false), count: count,
                log: folder.appending(path: "log").path(percentEncoded: false)))
    }

    /// Runs the load generator alone, and returns its result of the opening.
    private func run(
        _ server: ScriptedServer, _ paths: [String], count: Int
    ) async throws -> (opening: EventStreams.Opening, lines: Int) {
        try await withPlan(server, paths, count: count) { plan in
            let run = try await runProgram(
                plan.program, ["--seconds", "0", "127.0.0.1", "\(plan.port)", plan.targets, "\(count)"])
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            let line = try #require(run.lines.first, "\(run.errorOutput)")
            return (try decoder.decode(EventStreams.Opening.self, from: Data(line.utf8)), run.lines.count)
        }
    }
}
