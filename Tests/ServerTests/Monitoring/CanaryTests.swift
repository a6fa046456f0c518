import Domain
import Foundation
import LocalPostgres
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Tests of the canaries: each test server's log, metrics and refusals are searched for private text.
@Suite(.deadline) struct CanaryTests {
    @Test("A canary is found anywhere in a line, and so are texts that look like secrets")
    func finds() throws {
        let watch = CanaryWatch()
        watch.plant("Katrin Müller")
        watch.plant("Katrin M")
        watch.plant("short")
        watch.plant(
            json: Data(#"{"reports":[{"message":"she said so","status":"transcribing"}]}"#.utf8), isRequest: true)
        for line in [
            "Katrin Müller", "x=Katrin Müller.", "info a\ninfo b\ninfo [\"name\": Katrin Müller]", "Katrin Mar",
            "…she said so…", "user ada@clinic.example", "token eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.x.y",
            "k=\(StreamTicketText.sample)", "hash $scrypt$ln=4,r=1,p=1$c2FsdA$a2V5",
        ] {
            #expect(throws: CanaryFound.self, "\(line)") { try watch.inspect(line, in: "a line") }
        }
        try watch.inspect(
            """
            info request ["route": /api/sessions/{id}, "hb.request.id": 550e8400-e29b-41d4-a716-446655440000, "ms": 3]
            info short, Katrin, transcribing, e@, @MainActor
            debug NIOAsyncChannelInboundStreamChannelHandlerWithoutDigits
            debug \(String(repeating: "0123456789abcdef", count: 4))
            """, in: "lines that say nothing")
    }

    private enum StreamTicketText {
        static let sample = "Zk3q-0aXw_9eRt5yUiOpAsDfGhJkLzXcVbNm1Qw2E4r"
    }

    @Test("A server that logs a canary fails its test, at any log level")
    func failsOnLogs() async throws {
        let watch = CanaryWatch()
        // A route's template is not private. In this test it stands for private text.
        watch.plant("/api/auth/me")
        await #expect {
            try await withServer(canaries: watch) { server in _ = try await server.request(.GET, "/api/auth/me") }
        } throws: { ($0 as? CanaryFound)?.place == "the log" }
    }

    @Test("A server with a canary in a metric fails its test")
    func failsOnMetrics() async throws {
        let watch = CanaryWatch()
        watch.plant("therapybridge_http_request")
        await #expect {
            try await withServer(canaries: watch) { server in _ = try await server.request(.GET, "/health") }
        } throws: { ($0 as? CanaryFound)?.place == "a metric" }
    }

    @Test("A server in a process of its own fails its test in the same way")
    func failsOnPrograms() async throws {
        let watch = CanaryWatch()
        watch.plant("listening on ")
        try await withDatabase { database in
            _ = await #expect(throws: CanaryFound.self) {
                try await withServingProgram(over: database, canaries: watch) { _, _ in }
            }
        }
    }

    @Test("After an error, PostgreSQL's log contains no row, and the server's log contains none of PostgreSQL's text")
    func postgresLog() async throws {
        let words = "what the patient alone has said"
        CanaryWatch.shared.plant(words)
        // Parts of PostgreSQL's messages that quote values, as in `Key (email)=(a@b.example) already exists.`
        CanaryWatch.shared.plant("Failing row contains")
        CanaryWatch.shared.plant(") already exists.")
        let stage = """
            echo '{"progress": 50, "message": "\(words)"}'
            echo '{"result": {"text": "\(words) \\\\u0000", "segments": []}}'
            """
        try await ScriptFolder.with { folder in
            let settings = [
                "PIPELINE_STAGE_WRITES": folder.path,
                "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", stage),
            ]
            try await withOwnCluster { database in
                try await withServer(
                    over: database, settings, runsWorker: true, databaseTimeouts: .standard
                ) { server in
                    let clinic = try await Clinic(server)
                    let address = "\(clinic.session)@clinic.example"
                    for name in ["Ada", words] {
                        let user = #"{"email":"\#(address)","full_name":"\#(name)","role":"patient"}"#
                        _ = try await clinic.post("/api/users", user, as: .admin)
                    }
                    try await database.report(clinic.session, .failed, 0, error: words)
                    let report = #"{"status":"transcribing","progress":1,"message":"\#(words)"}"#
                    let path = "/api/sessions/\(clinic.session)/progress"
                    #expect(try await clinic.post(path, report, as: .pipeline).status == 409)
                    // Longer than the column allows. No route accepts such a value.
                    let long = String(repeating: words, count: 20)
                    try await database.withConnection(as: "therapybridge_server") { connection async throws in
                        for statement: PostgresQuery in [
                            "UPDATE app.therapy_sessions SET filename = \(long) WHERE id = \(clinic.session.rawValue)",
                            "INSERT INTO app.therapy_sessions (id, patient_id) SELECT id, patient_id FROM app.therapy_sessions",
                        ] {
                            await #expect(throws: PostgresError.self) {
                                try await connection.withTransaction { connection in
                                    try await clinic.act(as: .admin, connection)
                                    _ = try await connection.query(statement)
                                }
                            }
                        }
                    }
                    let session = try await WorkerScene(server).upload()
                    #expect(try await clinic.end(of: session)?.event == "error")
                }
                let log = try String(
                    contentsOf: URL(filePath: database.cluster.directory).appending(path: "server.log"), encoding: .utf8
                )
                #expect(log.contains("violates check constraint"))
                #expect(log.contains("violates unique constraint"))
                let watch = CanaryWatch()
                watch.plant(words)
                try watch.inspect(log, in: "PostgreSQL's log")
            }
        }
    }
}

extension Clinic {
    /// Sets the acting user of the present transaction.
    fileprivate func act(as caller: Caller, _ connection: PostgresConnection) async throws {
        try await connection.act(
            as: Principal(user: id(caller), signIn: try await server.database.addSignIn(of: id(caller))))
    }
}
