import Cage
import Domain
import Foundation
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// A worker that gets files made to cost memory or hours, one after another, and a recording behind them.
@Suite("A queue of files made to cost memory or time", .serialized) struct BombQueueTests {
    @Test("The queue moves on, the server answers others meanwhile, and memory stays in its budget")
    func movesOn() async throws {
        let marker = "tb-bombs-\(UUID().uuidString)"
        let work = FileManager.default.temporaryDirectory.appending(path: marker)
        defer { try? FileManager.default.removeItem(at: work) }
        let environment = [
            "PIPELINE_TRANSCRIBE_COMMAND": "'\(builtProgram)' transcribe", "UPLOAD_MAX_BYTES": "\(512 << 20)",
            "UPLOADS_PER_HOUR": "0", "PIPELINE_WORK_DIR": work.path(percentEncoded: false),
        ]
        try await withServer(environment, runsWorker: true) { server in
            let scene = try await WorkerScene(server)
            let bombs = Bomb.all + Bomb.seeded
            var sessions: [SessionID] = []
            for bomb in bombs {
                if let session = try await upload(bomb, scene) { sessions.append(session) }
            }
            #expect(sessions.count > bombs.count / 2)
            let speech = try Data(contentsOf: URL(filePath: RecordingMaker.amr.narrow))
            let last = try await scene.upload(speech, name: "session.amr")
            let before = Memory()
            let meter = Task { try await measure(server, token: scene.token, stages: marker) }
            defer { meter.cancel() }
            for session in sessions + [last] {
                let state = try await within("the end of a bomb", limit: TestDeadline.test * (Bomb.isLong ? 10 : 1)) {
                    try await ended(session, scene)
                }
                #expect(["processed", "failed"].contains(state.status))
                if let error = state.error {
                    #expect(error.hasSuffix("."), "\(error)")
                    #expect(!error.contains("/"), "\(error)")
                }
                if session == last { #expect(state.status == "processed") }
            }
            meter.cancel()
            let measured = try await meter.value
            #expect(measured.answers > 0)
            #expect(measured.stages > 0)
            #expect(measured.stages < CageBudget.bundledAddressSpace)
            if Bomb.isLong { expectAlone(measured, before) }
        }
    }

    /// Uploads a bomb.
    ///
    /// - Returns: Its session, or nil if the bytes already show that this is no recording.
    private func upload(_ bomb: Bomb, _ scene: WorkerScene) async throws -> SessionID? {
        let data = bomb.make()
        let file = UploadFile("session.wav", "application/octet-stream", Array(data), size: data.count)
        let response = try await scene.server.request(
            .POST, "/api/sessions/upload", token: scene.token, headers: ["Content-Type": Upload.contentType],
            body: Upload(patient: scene.patient, file: file).body)
        try #require([201, 415].contains(response.status), "\(bomb.name): \(response.text)")
        guard response.status == 201 else { return nil }
        return try #require(try SessionID(response.json()["id"] as? String ?? ""))
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

    // MARK: - Measurements

    /// The memory of this process, which is server and worker, and of the host.
    private struct Memory {
        var own = ProcessMemory.bytes(of: [Int(getpid())])
        var available = ProcessMemory.available
    }

    private struct Measured {
        /// The times of the answers, by the request.
        var latencies: [String: [Duration]] = [:]
        /// The most bytes of all stages together.
        var stages = 0
        /// The most bytes of this process.
        var own = 0
        /// The fewest bytes that the host had left.
        var available = Int.max

        var answers: Int { latencies.values.reduce(0) { $0 + $1.count } }
    }

    /// Asks the server and looks at the memory, again and again, until the task is cancelled.
    private func measure(_ server: TestServer, token: String, stages marker: String) async throws -> Measured {
        var measured = Measured()
        while !Task.isCancelled {
            for (path, token) in [("/health", nil), ("/api/sessions", token)] as [(String, String?)] {
                let start = ContinuousClock.now
                let response: TestResponse
                do {
                    response = try await server.request(.GET, path, token: token)
                } catch  where Task.isCancelled {
                    // The bombs are over, in the middle of this request.
                    break
                }
                #expect(response.status == 200)
                measured.latencies[path, default: []].append(start.duration(to: .now))
            }
            let memory = Memory()
            measured.stages = max(
                measured.stages, ProcessMemory.bytes(of: ProcessMemory.processes(withEnvironment: marker)))
            measured.own = max(measured.own, memory.own)
            measured.available = min(measured.available, memory.available)
            try? await ContinuousClock().sleep(for: .milliseconds(20))
        }
        return measured
    }

    /// Checks what a machine with other work says nothing about: `make bombs` runs alone.
    private func expectAlone(_ measured: Measured, _ before: Memory) {
        let (own, host) = (measured.own - before.own, before.available - measured.available)
        print("the stages: \(measured.stages >> 20) MiB at most")
        print("the server and worker: \(own >> 20) MiB more than before")
        print("the host: \(host >> 20) MiB less than before")
        #expect(own < 256 << 20)
        // A stage's files in the cache of the kernel are available memory.
        #expect(host < CageBudget.bundledAddressSpace + 256 << 20)
        for (path, latencies) in measured.latencies.sorted(by: { $0.key < $1.key }) {
            let sorted = latencies.sorted()
            let p99 = sorted[sorted.count * 99 / 100]
            print("GET \(path): p99 of \(sorted.count) requests while the bombs were processed: \(p99)")
            #expect(p99 < .milliseconds(100))
        }
    }
}
