import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The worker of docs/http-worker.py, as it stands there, against a server.
@Suite(.deadline) struct HTTPWorkerTests {
    /// Prints the transcript of every recording, as the worker's transcriber does.
    private static let prints = "echo '\(Script.transcript)'"

    /// Lends the running worker.
    private func withWorker(
        of server: TestServer, transcribing command: String,
        _ body: @escaping @Sendable (RunningProgram) async throws -> Void
    ) async throws {
        let token = try await server.token(server.database.addUser(.pipeline))
        let worker = packageRoot.appending(path: "docs/http-worker.py").path(percentEncoded: false)
        let environment = ["TB_URL": server.baseURL, "TB_TOKEN": token, "TRANSCRIBE": command.replacing("'", with: "")]
        try await withRunningProgram(worker, path: "/usr/bin/python3", environment: environment, body)
    }

    @Test("The worker of the documentation processes every session that comes, one after the other")
    func processes() async throws {
        try await ScriptFolder.with { folder in
            let command = try folder.command("transcribe.sh", Self.prints)
            try await withServer { server in
                let scene = try await WorkerScene(server)
                let first = try await scene.upload()
                try await withWorker(of: server, transcribing: command) { _ in
                    for session in [first, try await scene.upload()] {
                        _ = try await scene.watchToEnd(session)
                        #expect(
                            try await scene.history(of: session).suffix(3) == [
                                "transcribing 1", "transcribed 1", "processed 1",
                            ])
                        let transcript = try await scene.get("/transcript", session).json()
                        #expect(transcript["text"] as? String == "good morning")
                        #expect(transcript["is_final"] as? Bool == true)
                    }
                }
            }
        }
    }

    @Test("A recording that the transcriber cannot read fails, and the worker goes on")
    func fails() async throws {
        try await ScriptFolder.with { folder in
            let command = try folder.command(
                "transcribe.sh", #"if mkdir "$folder/first" 2>/dev/null; then exit 1; fi; \#(Self.prints)"#)
            try await withServer { server in
                let scene = try await WorkerScene(server)
                let (bad, good) = (try await scene.upload(), try await scene.upload())
                try await withWorker(of: server, transcribing: command) { _ in
                    let failed = try await scene.watchToEnd(bad)
                    #expect(failed.last?.data?.contains("could not read this recording") == true)
                    let processed = try await scene.watchToEnd(good)
                    #expect(processed.last?.event == "complete")
                }
            }
        }
    }

    @Test("The next worker takes over the session of a worker that was killed, and stores its transcript once")
    func killed() async throws {
        try await ScriptFolder.with { folder in
            let command = try folder.command(
                "transcribe.sh",
                """
                if mkdir "$folder/first" 2>/dev/null; then
                    touch "$folder/begun"
                    while [ ! -e "$folder/go" ]; do sleep 0.05; done
                fi
                \(Self.prints)
                """)
            try await withServer { server in
                let scene = try await WorkerScene(server)
                let session = try await scene.upload()
                try await withWorker(of: server, transcribing: command) { worker in
                    try await folder.wait(for: "begun")
                    try worker.kill()
                }
                // The transcriber of the killed worker may end now. Nobody reads what it prints.
                try folder.touch("go")
                try await server.database.query("UPDATE app.session_leases SET leased_until = now() - interval '1 s'")
                try await withWorker(of: server, transcribing: command) { _ in
                    _ = try await scene.watchToEnd(session)
                }
                #expect(
                    try await scene.history(of: session).suffix(4) == [
                        "transcribing 1", "transcribing 2", "transcribed 2", "processed 2",
                    ])
                #expect(try await server.database.query("SELECT FROM app.result_history").isEmpty)
                #expect(try await scene.get("/transcript", session).json()["attempt"] as? Int == 2)
            }
        }
    }
}
