import AsyncHTTPClient
import Domain
import Foundation
import LocalPostgres
import NIOCore
import NIOHTTP1
import PostgresTestSupport
import Subprocess
import SystemPackage
import TestSupport
import Testing

/// The command `serve` as a process: start, tokens of `token`, and shutdown.
@Suite(.deadline) struct ServeTests {
    @Test(
        "A server accepts a token of the command `token`, with and without the worker",
        arguments: [[], ["--no-worker"]])
    func token(arguments: [String]) async throws {
        try await withDatabase { database in
            let program = Program.serving(database)
            let user = try await database.addUser(.therapist, email: "t@test.example")
            let tokens = try await program.lines("token", "--email", "t@test.example", "--ttl", "600")
            try #require(tokens.count == 1)
            let (_, end) = try await program.serve(arguments) { server in
                let (status, body) = try await server.get("/api/auth/me", token: tokens[0])
                #expect(status == 200)
                #expect(body.contains(user.description))
                #expect(try await server.get("/api/auth/me", token: tokens[0] + "x").status == 401)
                #expect(try await server.get("/health/ready").status == 200)
                server.terminate()
            }
            #expect(end.status == 0)
            #expect(end.output == "", "standard output carries only results")
        }
    }

    @Test(
        "After SIGTERM or SIGINT, open streams get `retry:` with jitter and end, and the status is 0",
        arguments: [SIGTERM, SIGINT])
    func shutdown(signal: Int32) async throws {
        try await withDatabase { database in
            let program = Program.serving(database)
            let patient = try await database.addUser(.patient, email: "p@test.example")
            let session = try await database.addSession(of: patient)
            let token = try await program.lines("token", "--email", "p@test.example")[0]
            let (texts, end) = try await program.serve { server in
                let streams = try await [
                    server.open("/api/sessions/\(session)/status/stream", token: token),
                    server.open("/api/sessions/\(session)/status/stream", token: token),
                ]
                var texts: [String] = []
                // The signal comes when both streams have sent their first event.
                var readers = streams.map { $0.body.makeAsyncIterator() }
                var first = ""
                while !first.contains("event: progress") { first += try await Self.chunk(&readers[0]) ?? "" }
                var second = ""
                while !second.contains("event: progress") { second += try await Self.chunk(&readers[1]) ?? "" }
                kill(server.processID, signal)
                while let more = try await Self.chunk(&readers[0]) { first += more }
                while let more = try await Self.chunk(&readers[1]) { second += more }
                texts = [first, second]
                return texts
            }
            #expect(end.status == 0)
            for text in texts {
                let last = text.components(separatedBy: "\n\n").last ?? ""
                let retry = try #require(last.wholeMatch(of: /retry: (\d+)\n/).flatMap { Int($0.1) }, "\(text)")
                #expect((500...5000).contains(retry))
            }
        }
    }

    @Test("At SIGTERM, the server appends the repeats of accesses that it has counted")
    func repeatedAccesses() async throws {
        try await withDatabase { database in
            let program = Program.serving(database)
            let patient = try await database.addUser(.patient, email: "p@test.example")
            let session = try await database.addSession(of: patient)
            let token = try await program.lines("token", "--email", "p@test.example")[0]
            let (_, end) = try await program.serve(["--no-worker"]) { server in
                for _ in 1...3 {
                    let answer = try await server.get("/api/sessions/\(session)", token: token)
                    #expect(answer.status == 200)
                }
                let records = try await database.audit("action = 'session.read'")
                #expect(records.map(\.repeats) == [nil], "so far the log has the first access alone")
                server.terminate()
            }
            #expect(end.status == 0)
            let records = try await database.audit("action = 'session.read'")
            #expect(Set(records.map(\.repeats)) == [nil, 2])
            #expect(Set(records.map(\.session)) == [session])
        }
    }

    @Test("A port in use gives status 1 and a line that names PORT")
    func portTaken() async throws {
        try await withDatabase { database in
            let program = Program.serving(database)
            _ = try await program.serve { server in
                let run = try await Program.serving(database, ["PORT": "\(server.port)"]).run("serve")
                #expect(run.status == 1)
                #expect(run.errorLines.last?.contains("PORT") == true)
                server.terminate()
            }
        }
    }

    @Test(
        "A metrics port in use gives status 1 and a line that names METRICS_PORT",
        arguments: ["serve", "work"])
    func metricsPortTaken(command: String) async throws {
        try await withDatabase { database in
            _ = try await Program.serving(database).serve { server in
                let settings = ["METRICS_PORT": "\(server.port)"]
                let run = try await Program.serving(database, settings).run(command)
                #expect(run.status == 1)
                // Other services may have started, so that their log lines may come first.
                let named = run.errorLines.count { $0.hasPrefix("therapybridge: METRICS_PORT: ") }
                #expect(named == 1, "\(run.errorOutput)")
                server.terminate()
            }
        }
    }

    @Test("METRICS_PORT is open on loopback only, and an open connection to it does not delay the shutdown")
    func metricsPort() async throws {
        try await withDatabase { database in
            let port = try freePort()
            let program = Program.serving(database, ["METRICS_PORT": "\(port)"])
            let (_, end) = try await program.serve { server in
                // The client's pool keeps the connection open, as Prometheus does.
                let metrics = RunningServer(port: port, processID: server.processID)
                try await eventually("the metrics are served") { (try? await metrics.get("/metrics").status) == 200 }
                #expect(try await metrics.get("/metrics").body.contains("\ntherapybridge_listener_live "))
                #expect(try Self.listeningAddresses(port: port) == ["0100007F"])
                server.terminate()
            }
            #expect(end.status == 0)
        }
    }

    @Test("With LOG_FORMAT=json, each line of the log is one JSON object")
    func jsonLog() async throws {
        try await withDatabase { database in
            let (_, end) = try await Program.serving(database, ["LOG_FORMAT": "json"]).serve { $0.terminate() }
            let lines = end.log.split(separator: "\n")
            #expect(!lines.isEmpty)
            for line in lines {
                let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: any Sendable]
                #expect(object?["message"] is String)
                #expect(object?["level"] is String)
                #expect(object?["time"] is String)
            }
        }
    }

    @Test("A log on a full disk does not end the service", arguments: ["json", "text"])
    func fullDisk(format: String) async throws {
        try await withDatabase { database in
            let port = try freePort()
            let uploads = FileManager.default.temporaryDirectory.appending(
                path: "tb-full-\(UUID().uuidString.prefix(8))")
            defer { try? FileManager.default.removeItem(at: uploads) }
            let folder = uploads.path(percentEncoded: false)
            let program = Program.serving(
                database, ["LOG_FORMAT": format, "PORT": "\(port)", "UPLOAD_DIR": folder])
            let full = try FileDescriptor.open("/dev/full", .writeOnly)
            let outcome = try await Subprocess.run(
                .path(FilePath(builtProgram)), arguments: ["serve", "--no-worker"],
                environment: .custom(programEnvironment(program.environment)), input: .none, output: .discarded,
                error: .fileDescriptor(full, closeAfterSpawningProcess: true)
            ) { execution in
                let server = RunningServer(port: port, processID: execution.processIdentifier.value)
                try await eventually("the server is ready") { (try? await server.get("/health/ready").status) == 200 }
                server.terminate()
            }
            #expect(outcome.terminationStatus == .exited(0))
        }
    }

    /// The local addresses of a listening port from `/proc/net/tcp`: hexadecimal, the lowest byte first.
    private static func listeningAddresses(port: Int) throws -> [String] {
        try ["tcp", "tcp6"].flatMap { table -> [String] in
            let file = try FileHandle(forReadingFrom: URL(filePath: "/proc/thread-self/net/\(table)"))
            let text = String(decoding: try file.readToEnd() ?? Data(), as: UTF8.self)
            return text.split(separator: "\n").compactMap { line in
                // The second field has the local address and port. State 0A is LISTEN.
                let fields = line.split(separator: " ")
                let address = fields.count > 3 && fields[3] == "0A" ? fields[1].split(separator: ":") : []
                return address.last.flatMap { Int($0, radix: 16) } == port ? String(address[0]) : nil
            }
        }
    }

    private static func chunk(_ body: inout HTTPClientResponse.Body.AsyncIterator) async throws -> String? {
        try await body.next().map { String(buffer: $0) }
    }
}

extension RunningServer {
    func open(_ path: String, token: String?, headers: [String: String] = [:]) async throws -> HTTPClientResponse {
        var request = HTTPClientRequest(url: baseURL + path)
        request.headers.add(contentsOf: headers.map { ($0, $1) })
        if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
        return try await HTTPClient.shared.execute(request, deadline: .now() + TimeAmount(TestDeadline.test))
    }

    func get(
        _ path: String, token: String? = nil, headers: [String: String] = [:]
    ) async throws -> (status: Int, body: String) {
        let response = try await open(path, token: token, headers: headers)
        return (Int(response.status.code), String(buffer: try await response.body.collect(upTo: 1 << 20)))
    }

    /// Posts JSON, and returns the status of the answer.
    func post(_ path: String, _ json: String) async throws -> Int {
        var request = HTTPClientRequest(url: baseURL + path)
        request.method = .POST
        request.headers.add(name: "Content-Type", value: "application/json")
        request.body = .bytes(ByteBuffer(string: json))
        let response = try await HTTPClient.shared.execute(request, deadline: .now() + TimeAmount(TestDeadline.test))
        _ = try await response.body.collect(upTo: 1 << 20)
        return Int(response.status.code)
    }
}
