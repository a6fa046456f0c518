import Domain
import Foundation
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// A worker that gets files made to cost memory or hours, one after another, and a recording behind them.
@Suite("A queue of files made to cost memory or time", .serialized) struct BombQueueTests {
    @Test("The queue moves on, and the server answers others meanwhile")
    func movesOn() async throws {
        let environment = [
            "PIPELINE_TRANSCRIBE_COMMAND": "'\(builtProgram)' transcribe", "UPLOAD_MAX_BYTES": "\(512 << 20)",
        ]
        try await withServer(environment, runsWorker: true) { server in
            let scene = try await WorkerScene(server)
            var sessions: [SessionID] = []
            for bomb in Bomb.all {
                let data = bomb.make()
                let file = UploadFile("session.wav", "application/octet-stream", Array(data), size: data.count)
                let response = try await server.request(
                    .POST, "/api/sessions/upload", token: scene.token,
                    headers: ["Content-Type": Upload.contentType],
                    body: Upload(patient: scene.patient, file: file).body)
                // The bytes may already show that this is no recording.
                try #require([201, 415].contains(response.status), "\(bomb.name): \(response.text)")
                if response.status == 201 {
                    sessions.append(try #require(try SessionID(response.json()["id"] as? String ?? "")))
                }
            }
            #expect(sessions.count > Bomb.all.count / 2)
            sessions.append(try await scene.upload())
            let meter = Task { try await latencies(of: server, token: scene.token) }
            defer { meter.cancel() }
            for session in sessions {
                let state = try await within("the end of a bomb", limit: TestDeadline.test * (Bomb.isLong ? 10 : 1)) {
                    try await ended(session, scene)
                }
                #expect(["processed", "failed"].contains(state.status))
                if let error = state.error { #expect(error.hasSuffix(".") && !error.contains("/"), "\(error)") }
            }
            meter.cancel()
            let sorted = try await meter.value.sorted()
            let p99 = try #require(sorted.isEmpty ? nil : sorted[sorted.count * 99 / 100])
            // A shared machine of tests says nothing about time. `make bombs` runs alone.
            if Bomb.isLong {
                print("p99 of \(sorted.count) requests while the bombs were processed: \(p99)")
                #expect(p99 < .milliseconds(100))
            }
        }
    }

    /// Waits until a session has ended, and returns its status and error.
    private func ended(_ session: SessionID, _ scene: WorkerScene) async throws -> (status: String, error: String?) {
        while true {
            let json = try await scene.get("/status", session).json()
            let status = json["status"] as? String ?? ""
            if ["processed", "failed"].contains(status) { return (status, json["error"] as? String) }
            try await ContinuousClock().sleep(for: .milliseconds(50))
        }
    }

    /// The times of requests, one after another, until the task is cancelled.
    private func latencies(of server: TestServer, token: String) async throws -> [Duration] {
        var latencies: [Duration] = []
        while !Task.isCancelled {
            let start = ContinuousClock.now
            let response: TestResponse
            do {
                response = try await server.request(.GET, "/api/sessions", token: token)
            } catch  where Task.isCancelled {
                // The bombs are over, in the middle of this request.
                break
            }
            #expect(response.status == 200)
            latencies.append(start.duration(to: .now))
            try? await ContinuousClock().sleep(for: .milliseconds(20))
        }
        return latencies
    }
}
