import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

/// The limits of a result that a pipeline stores over HTTP.
@Suite(.deadline) struct ResultLimitTests {
    @Test("A document with more values than the limit gets 413 and does not reach the database")
    func values() async throws {
        try await withServer { server in
            let pipeline = try await PipelineAccount(server)
            try await server.database.queueSessions()
            let claim = try PipelineAccount.Claim(try await pipeline.claim())
            let ones = String(repeating: "1,", count: 1_000_000) + "1"
            for what in ["transcript", "notes"] {
                let response = try await pipeline.put(
                    what, #""text": "a", "segments": [], "x": [\#(ones)]"#, of: claim)
                expectProblem(response, 413, "too-large", detail: "1000000 values")
            }
            #expect(try await server.database.query("SELECT FROM app.transcripts").isEmpty)
            #expect(try await server.database.query("SELECT FROM app.notes").isEmpty)
        }
    }

    @Test("Senders of large documents that are too slow lose their places to others")
    func slow() async throws {
        let clock = ManualClock()
        try await withServer(clock: clock) { server in
            let pipeline = try await PipelineAccount(server)
            try await server.database.queueSessions()
            let claim = try PipelineAccount.Claim(try await pipeline.claim())
            let senders = try (0..<5).map { _ in try RawSocket(port: server.port) }
            for sender in senders {
                try await eventually("the sender is connected") { sender.isConnected }
                try sender.send(
                    """
                    PUT /api/sessions/\(claim.session)/notes HTTP/1.1\r\nHost: 127.0.0.1:\(server.port)\r\n\
                    Authorization: Bearer \(pipeline.token)\r\nContent-Type: application/json\r\n\
                    Content-Length: 2000000\r\n\r\n{
                    """)
            }
            // The fifth finds no place, and the four others have one.
            try await eventually("a sender is refused") {
                senders.contains { $0.received.hasPrefix("HTTP/1.1 503 ") }
            }
            let slow = senders.filter { $0.received.isEmpty }
            #expect(slow.count == 4)
            // The byte is a sign of life: the body does not stand still.
            clock.advance(by: .seconds(31))
            for sender in slow { try sender.send(" ") }
            for sender in slow {
                try await eventually("the sender is refused") { sender.received.hasPrefix("HTTP/1.1 408 ") }
            }
            let large = #""text": "\#(String(repeating: "a", count: 1_100_000))""#
            try await eventually("a place is free") {
                try await pipeline.put("notes", large, of: claim).status == 204
            }
        }
    }

    @Test("A document that is too large for the database gets 413")
    func tooLargeForTheDatabase() async throws {
        try await withServer { server in
            let pipeline = try await PipelineAccount(server)
            try await server.database.queueSessions()
            let claim = try PipelineAccount.Claim(try await pipeline.claim())
            try await server.database.withConnection { connection in
                try await connection.executeScript(ProgramLimit.largeTranscript)
            }
            let response = try await pipeline.put("transcript", #""text": "a", "segments": []"#, of: claim)
            expectProblem(response, 413, "too-large", detail: "database")
        }
    }
}
