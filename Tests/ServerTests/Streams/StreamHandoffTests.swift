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
                let requests = String(repeating: download, count: 20) + clinic.get(clinic.stream)
                try await wire.send(requests)
                for _ in 0..<20 {
                    let answer = try await wire.readResponse()
                    #expect(answer.status == 200)
                    let isWhole = answer.body == file.bytes
                    #expect(isWhole)
                }
                let (status, headers) = try await wire.readHead()
                #expect(status == 200)
                #expect(headers["Content-Type"] == ["text/event-stream"])
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
                try await wire.send(clinic.get(clinic.stream) + clinic.get("/health/live") + clinic.get(clinic.stream))
                var text = try await wire.read(upTo: "\"pending\"")
                try await clinic.database.report(clinic.session, .transcribing, 20)
                text += try await wire.read(upTo: "\"transcribing\"")
                try await clinic.database.report(clinic.session, .failed, 20, error: "No speech.")
                text += String(decoding: try await wire.readToEnd(), as: UTF8.self)
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
                let end = String(decoding: try await wire.readToEnd(), as: UTF8.self)
                #expect(end.contains("event: complete\n"))
                #expect(end.hasSuffix("\n\n\r\n0\r\n\r\n"))
            }
        }
    }

    @Test("An HTTP/1.0 client gets the events without chunks, and the connection ends with the stream")
    func http10() async throws {
        try await withStreamScene { scene in
            try await scene.server.withRawConnection { connection in
                try await connection.send("GET", scene.path, token: scene.token, version: "1.0")
                var text = try await connection.read(upTo: "\"pending\"")
                try await scene.report(.transcribing, 20)
                text += try await connection.read(upTo: "\"transcribing\"")
                try await scene.report(.failed, 20, error: "No speech.")
                text += try await connection.readToEnd()
                let parts = text.split(separator: "\r\n\r\n", maxSplits: 1)
                #expect(parts.first?.lowercased().contains("transfer-encoding") == false)
                #expect(parts.first?.lowercased().contains("content-length") == false)
                let body = try #require(parts.last)
                #expect(!body.contains("\r"))
                let events = body.split(separator: "\n").filter { $0.hasPrefix("event: ") }
                #expect(events == ["event: progress", "event: progress", "event: error"])
                #expect(body.hasPrefix("retry: 2000\n\nid: 1\n"))
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
                        try await scene.server.withRawConnection { connection in
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
                        try await scene.server.withRawConnection { connection in
                            try await connection.send(
                                "GET", scene.path, token: scene.token, version: number.isMultiple(of: 3) ? "1.0" : "1.1"
                            )
                            _ = try await connection.read(upTo: "\"pending\"")
                            open.yield()
                            switch number % 4 {
                            case 0: return
                            case 1: try await connection.resetOnClose()
                            case 2:
                                let rest = try await connection.readToEnd()
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
        try await withDatabase { database in
            try await withServingProgram(over: database) { server, program in
                let scene = try await StreamScene(server)
                let (opened, open) = AsyncStream.makeStream(of: Void.self)
                try await withThrowingTaskGroup(of: Void.self) { clients in
                    for number in 0..<50 {
                        clients.addTask {
                            let isOld = number.isMultiple(of: 2)
                            try await server.withRawConnection { connection in
                                try await connection.send(
                                    "GET", scene.path, token: scene.token, version: isOld ? "1.0" : "1.1")
                                var text = try await connection.read(upTo: "\"pending\"")
                                open.yield()
                                text += try await connection.readToEnd()
                                let retries = text.matches(of: /retry: (\d+)\n\n/).compactMap { Int($0.output.1) }
                                #expect(retries.count == 2)
                                #expect(retries.last.map((500...5000).contains) == true)
                                #expect(text.hasSuffix(isOld ? "\n\n" : "\n\n\r\n0\r\n\r\n"))
                            }
                        }
                    }
                    try await opened.wait(for: 50)
                    try program.terminate()
                    try await clients.waitForAll()
                }
            }
        }
    }
}

extension Clinic {
    /// The path of the stream of the clinic's session.
    fileprivate var stream: String { "/api/sessions/\(session)/status/stream" }

    /// A request of the patient.
    fileprivate func get(_ path: String) -> String {
        "GET \(path) HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer \(token(.patient))\r\n\r\n"
    }
}

extension RawConnection {
    /// Makes the next close a reset of the connection.
    fileprivate func resetOnClose() async throws {
        let socket = try #require(channel as? any SocketOptionProvider)
        try await socket.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
    }
}

extension TestServer {
    /// The number of this process's descriptors of connections to the server, which runs in the same process.
    ///
    /// Other tests open and close descriptors too, so their number in the process means nothing.
    func openDescriptors() throws -> Int {
        // The entry of this thread: if the main thread has ended, `/proc/self/fd` is empty.
        try FileManager.default.contentsOfDirectory(atPath: "/proc/thread-self/fd").compactMap { CInt($0) }
            .count { localPort(of: $0) == port && !isListening($0) }
    }
}

/// The local port of a socket; nil for any other descriptor.
private func localPort(of descriptor: CInt) -> Int? {
    var address = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let status = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
    }
    return status == 0 && address.sin_family == sa_family_t(AF_INET) ? Int(in_port_t(bigEndian: address.sin_port)) : nil
}

private func isListening(_ descriptor: CInt) -> Bool {
    var isListening: CInt = 0
    var length = socklen_t(MemoryLayout<CInt>.size)
    return getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &length) == 0 && isListening != 0
}
