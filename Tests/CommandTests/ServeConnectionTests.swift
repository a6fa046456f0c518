import Domain
import Foundation
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// The connections of a server at its limits and at its end.
@Suite("The connections of `serve`", .deadline, .serialized) struct ServeConnectionTests {
    private static let health = "GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n"

    private static func isAnswered(_ socket: RawSocket) -> Bool { socket.received.hasPrefix("HTTP/1.1 200 ") }

    /// Without any descriptor, libdispatch ends a process.
    @Test("The server keeps some descriptors free: it pauses, says so, and accepts again when connections have ended")
    func fewDescriptors() async throws {
        let (most, reserve) = (100, 25)
        try await withDatabase { database in
            let (_, end) = try await Program.serving(database).serve(["--no-worker"], descriptors: most) { server in
                func openDescriptors() throws -> Int {
                    try FileManager.default.contentsOfDirectory(atPath: "/proc/\(server.processID)/fd").count
                }
                let crowd = try (0..<2 * most).map { _ in try RawSocket(port: server.port) }
                try await eventually("the handshakes") { crowd.allSatisfy(\.isConnected) }
                try await eventually("the server accepts as many as it may") { try openDescriptors() >= most - reserve }
                for socket in crowd { try socket.send(Self.health) }
                try await eventually("answers on the accepted connections") { crowd.count(where: Self.isAnswered) > 20 }
                #expect(try openDescriptors() < most)
                #expect(crowd.contains { $0.received.isEmpty })
                // In the order in which the kernel has queued them, the first were accepted.
                for socket in crowd.prefix(most) { socket.close() }
                try await eventually("answers on connections that have waited") {
                    crowd.dropFirst(most).count(where: Self.isAnswered) > 20
                }
                for socket in crowd { socket.close() }
                try await eventually("the answer on a new connection") {
                    try await server.get("/health/live").status == 200
                }
                server.terminate()
            }
            #expect(end.status == 0)
            // One line in ten seconds, however often the server tries again.
            #expect((1...20).contains(end.log.split(separator: "cannot accept connections").count - 1))
        }
    }

    @Test("After SIGTERM, connections with a request get their answers, and all others end without a reset")
    func shutdown() async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient, email: "p@test.example")
            let session = try await database.addSession(of: patient)
            let program = Program.serving(database, ["SHUTDOWN_TIMEOUT": "100"])
            let token = try await program.lines("token", "--email", "p@test.example")[0]
            let (_, end) = try await program.serve(["--no-worker"]) { server in
                func connection(_ text: String) async throws -> RawSocket {
                    let socket = try RawSocket(port: server.port)
                    try await eventually("the handshake") { socket.isConnected }
                    try socket.send(text)
                    return socket
                }
                let silent = try await connection("")
                let idle = try await connection(Self.health)
                try await eventually("an answer") { Self.isAnswered(idle) }
                let half = try await connection(
                    """
                    POST /api/auth/login HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n\
                    Content-Length: 2\r\nExpect: 100-continue\r\n\r\n
                    """)
                try await eventually("the server waits for the body") { half.received.hasPrefix("HTTP/1.1 100 ") }
                let stream = try await connection(
                    """
                    GET /api/sessions/\(session)/status/stream HTTP/1.1\r\nHost: test\r\n\
                    Authorization: Bearer \(token)\r\n\r\n
                    """)
                try await eventually("a stream") { stream.received.contains("event: progress") }
                // While the process is stopped, the kernel completes connections that the server has not accepted.
                kill(server.processID, SIGSTOP)
                var queued: [RawSocket] = []
                for _ in 0..<100 { queued.append(try await connection(Self.health)) }
                kill(server.processID, SIGTERM)
                kill(server.processID, SIGCONT)

                try await eventually("the end of what has no request") { silent.hasEnded && idle.hasEnded }
                #expect(silent.received.isEmpty)
                #expect(idle.received.split(separator: "HTTP/1.1 ").count == 1)
                try await eventually("the answers to what has one") { queued.allSatisfy(\.hasEnded) }
                #expect(queued.allSatisfy(Self.isAnswered))
                try await eventually("the end of the stream") { stream.hasEnded }
                #expect(stream.received.matches(of: /retry: \d+\n/).count == 2)
                #expect(!half.hasEnded)
                try half.send("{}")
                try await eventually("the answer to the request whose body came late") { half.hasEnded }
                #expect(half.received.contains("HTTP/1.1 422 "))
            }
            #expect(end.status == 0)
        }
    }

    @Test("After SIGTERM, an opening that waits for the database gets its answer")
    func opening() async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient, email: "p@test.example")
            let session = try await database.addSession(of: patient)
            let program = Program.serving(database)
            let token = try await program.lines("token", "--email", "p@test.example")[0]
            let (_, end) = try await program.serve(["--no-worker"]) { server in
                try await database.withConnection { connection in
                    // The opening waits for the lock, because it has to write its audit record.
                    try await connection.executeScript("BEGIN; LOCK TABLE app.audit_log IN ACCESS EXCLUSIVE MODE")
                    let socket = try RawSocket(port: server.port)
                    try await eventually("the handshake") { socket.isConnected }
                    try socket.send(
                        """
                        GET /api/sessions/\(session)/status/stream HTTP/1.1\r\nHost: test\r\n\
                        Authorization: Bearer \(token)\r\n\r\n
                        """)
                    try await eventually("the opening waits") {
                        try await database.query("SELECT FROM pg_locks WHERE NOT granted").count > 0
                    }
                    server.terminate()
                    try await eventually("an answer, and the end") { socket.hasEnded }
                    #expect(socket.received.hasPrefix("HTTP/1.1 200 "))
                    #expect(socket.received.contains("event: unavailable\n"))
                    try await connection.executeScript("COMMIT")
                }
            }
            #expect(end.status == 0)
        }
    }
}
