import Domain
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The hand-off of a stream's socket to the reactor: the requests before and after it on the connection, and the
/// resources that must be freed.
@Suite(.deadline) struct StreamHandoffTests {
    // MARK: - Requests before and after

    @Test("A pipelined stream begins after the whole answers to the earlier requests")
    func pipelined() async throws {
        try await withClinic { clinic in
            let file = UploadFile.wav(size: 300_000)
            let uploaded = try await clinic.upload(Upload(patient: clinic.id(.patient), file: file), as: .patient)
            let recording = try #require(try uploaded.json()["id"] as? String)
            try await clinic.server.withWire { wire in
                // More bytes than the kernel buffers for a client that does not read.
                let download = clinic.get("/api/sessions/\(recording)/recording")
                let requests = String(repeating: download, count: 20) + clinic.get(clinic.streamOfSession)
                try await wire.send(requests)
                for _ in 0..<20 {
                    let answer = try await wire.readResponse()
                    #expect(answer.status == 200)
                    let isWhole = answer.body == file.bytes
                    #expect(isWhole)
                }
                let (status, headers) = try await wire.readHead()
                #expect(status == 200)
                #expect(headers["Content-Type"] == ["text/event-stream; charset=utf-8"])
                #expect(headers["Content-Length"] == [])
                #expect(headers["Transfer-Encoding"] == ["chunked"])
                _ = try await wire.read(upTo: "\"pending\"")
                try await clinic.database.report(clinic.session, .transcribing, 20)
                _ = try await wire.read(upTo: "\"transcribing\"")
            }
        }
    }

    @Test("A request after a stream on the same connection gets no answer, and the stream goes on")
    func askedBehind() async throws {
        try await withClinic { clinic in
            try await clinic.server.withWire { wire in
                try await wire.send(
                    clinic.get(clinic.streamOfSession) + clinic.get("/health/live") + clinic.get(clinic.streamOfSession)
                )
                var text = try await wire.read(upTo: "\"pending\"")
                try await clinic.database.report(clinic.session, .transcribing, 20)
                text += try await wire.read(upTo: "\"transcribing\"")
                try await clinic.database.report(clinic.session, .failed, 20, error: "No speech.")
                text += try await wire.readTextToEnd()
                #expect(text.split(separator: "HTTP/1.1 ").count == 1)
                #expect(text.hasSuffix("\n\n\r\n0\r\n\r\n"))
            }
        }
    }

    @Test(
        "A request for a stream may have a body",
        arguments: ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"])
    func body(_ body: String) async throws {
        try await withStreamScene { scene in
            try await scene.server.withWire { wire in
                try await wire.send(
                    "GET \(scene.path) HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer \(scene.token)\r\n\(body)")
                #expect(try await wire.readHead().status == 200)
                _ = try await wire.read(upTo: "\"pending\"")
                try await scene.report(.transcribing, 20)
                _ = try await wire.read(upTo: "\"transcribing\"")
            }
        }
    }

    @Test("The server drops what a client sends during a stream, and the client gets all events")
    func talkative() async throws {
        try await withStreamScene { scene in
            try await scene.server.withWire { wire in
                try await wire.send(
                    "GET \(scene.path) HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer \(scene.token)\r\n\r\n")
                _ = try await wire.read(upTo: "\"pending\"")
                for status in [SessionStatus.preprocessing, .transcribing, .transcribed] {
                    try await wire.send(Data(repeating: UInt8(ascii: "G"), count: 100_000))
                    try await scene.report(status, 20)
                    _ = try await wire.read(upTo: "\"\(status.rawValue)\"")
                }
                try await wire.send(Data(repeating: UInt8(ascii: "G"), count: 100_000))
                try await scene.report(.processed, 100)
                let end = try await wire.readTextToEnd()
                #expect(end.contains("event: complete\n"))
                #expect(end.hasSuffix("\n\n\r\n0\r\n\r\n"))
            }
        }
    }

    @Test("An HTTP/1.0 client gets the events without chunks, and the connection ends with the stream")
    func http10() async throws {
        try await withStreamScene { scene in
            try await scene.server.withWire { connection in
                try await connection.send("GET", scene.path, token: scene.token, version: "1.0")
                var text = try await connection.read(upTo: "\"pending\"")
                try await scene.report(.transcribing, 20)
                text += try await connection.read(upTo: "\"transcribing\"")
                try await scene.report(.failed, 20, error: "No speech.")
                text += try await connection.readTextToEnd()
                let parts = text.split(separator: "\r\n\r\n", maxSplits: 1)
                #expect(parts.first?.lowercased().contains("transfer-encoding") == false)
                #expect(parts.first?.lowercased().contains("content-length") == false)
                let body = try #require(parts.last)
                #expect(!body.contains("\r"))
                let events = body.split(separator: "\n").filter { $0.hasPrefix("event: ") }
                #expect(events == ["event: progress", "event: progress", "event: error"])
                #expect(body.hasPrefix("retry: 2000\nid: 1\n"))
                #expect(body.hasSuffix("}\n\n"))
            }
        }
    }

    // MARK: - Freed resources

    @Test("Clients that reset the connection at once leave no descriptor and no slot behind")
    func resetsAtOnce() async throws {
        try await withStreamScene(["SSE_MAX_STREAMS": "1", "SSE_HEARTBEAT_INTERVAL": "3600"]) { scene in
            try await withThrowingTaskGroup(of: Void.self) { clients in
                for _ in 0..<40 {
                    clients.addTask {
                        try await scene.server.withWire { connection in
                            try await connection.send("GET", scene.path, token: scene.token)
                            try await connection.resetOnClose()
                        }
                    }
                }
                try await clients.waitForAll()
            }
            try await eventually("a stream opens again") {
                try await scene.withStream { try await $0.nextEvent() }?.event == "progress"
            }
            try await eventually("every descriptor is closed") { try scene.server.openDescriptors() == 0 }
        }
    }

    @Test("Two hundred streams leave no descriptor and no slot behind, whatever ends them")
    func descriptors() async throws {
        try await withStreamScene(["SSE_MAX_STREAMS": "200", "SSE_MAX_STREAMS_PER_USER": "200"]) { scene in
            #expect(try scene.server.openDescriptors() == 0)
            let (opened, open) = AsyncStream.makeStream(of: Void.self)
            try await withThrowingTaskGroup(of: Void.self) { clients in
                for number in 0..<200 {
                    clients.addTask {
                        try await scene.server.withWire { connection in
                            try await connection.send(
                                "GET", scene.path, token: scene.token, version: number.isMultiple(of: 3) ? "1.0" : "1.1"
                            )
                            _ = try await connection.read(upTo: "\"pending\"")
                            open.yield()
                            switch number % 4 {
                            case 0: return
                            case 1: try await connection.resetOnClose()
                            case 2:
                                let rest = try await connection.readTextToEnd()
                                #expect(rest.contains("event: error\n"))
                            default: _ = try await connection.read(upTo: "\"transcribing\"")
                            }
                        }
                    }
                }
                try await opened.wait(for: 200)
                // The other clients have left.
                #expect(try scene.server.openDescriptors() >= 100)
                try await scene.report(.transcribing, 20)
                try await scene.report(.failed, 20, error: "No speech.")
                try await clients.waitForAll()
            }
            try await eventually("every descriptor is closed") { try scene.server.openDescriptors() == 0 }
            let other = try await StreamScene(scene.server)
            _ = try await other.withStream { try await $0.next("progress") }
        }
    }

    // MARK: - Shutdown

    @Test("On SIGTERM, streams of HTTP/1.0 and HTTP/1.1 get a reconnection delay and end cleanly")
    func shutdown() async throws {
        try await withShutdown(of: 50) { scene, number, opened in
            let isOld = number.isMultiple(of: 2)
            try await scene.server.withWire { wire in
                try await wire.send("GET", scene.path, token: scene.token, version: isOld ? "1.0" : "1.1")
                var text = try await wire.read(upTo: "\"pending\"")
                opened()
                text += try await wire.readTextToEnd()
                let retries = text.matches(of: /retry: (\d+)\n/).compactMap { Int($0.output.1) }
                #expect(retries.count == 2)
                #expect(retries.last.map((500...5000).contains) == true)
                #expect(text.hasSuffix(isOld ? "\n" : "\n\r\n0\r\n\r\n"))
            }
        }
    }
}

extension Clinic {
    /// A request of the patient.
    fileprivate func get(_ path: String) -> String {
        "GET \(path) HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer \(token(.patient))\r\n\r\n"
    }
}
