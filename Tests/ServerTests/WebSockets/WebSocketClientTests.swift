import Domain
import Foundation
import NIOCore
import NIOPosix
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

/// The frames that a client sends, and the resources that must be freed.
@Suite(.deadline) struct WebSocketClientTests {
    @Test("A ping gets a pong with the same payload, and other messages of a client are ignored")
    func talks() async throws {
        try await withStreamScene { scene in
            try await scene.withWebSocket { socket in
                try await socket.expectVersion(1)
                for payload: [UInt8] in [[], [1, 2, 3], (0..<125).map { UInt8($0) }] {
                    try await socket.ping(payload)
                    let answer = try await socket.next()
                    #expect(answer == .pong(payload))
                }
                for _ in 0..<5 {
                    try await socket.send(1, Array("{\"subscribe\":\"everything\"}".utf8))
                    try await socket.send(2, [UInt8](repeating: 0xFF, count: 65_536))
                    try await socket.send(1, Array("a part".utf8), isFinal: false)
                    try await socket.send(10, [9])
                    try await socket.send(0, Array("and the rest".utf8))
                }
                try await scene.report(.transcribing, 20)
                try await socket.expectVersion(2)
            }
        }
    }

    @Test("A client's Close is answered with its code, and the server closes the connection first")
    func close() async throws {
        try await withStreamScene(["SSE_MAX_STREAMS": "1"]) { scene in
            for code: UInt16 in [1000, 1001, 3999] {
                try await eventually("a WebSocket opens again") {
                    try await scene.withWebSocket { socket in
                        guard case .text = try await socket.next() else { return false }
                        try await socket.close(code)
                        try await socket.expectRest(.close(code, ""))
                        return true
                    }
                }
            }
        }
    }

    struct Fault: Sendable, CustomTestStringConvertible {
        let name: String
        let bytes: [UInt8]
        let code: UInt16

        var testDescription: String { name }
    }

    @Test(
        "A frame that the protocol or a limit forbids gets a Close with the code, and other WebSockets go on",
        arguments: [
            Fault(name: "not masked", bytes: [0x81, 2, 0x68, 0x69], code: 1002),
            Fault(name: "a reserved bit", bytes: [0xC1, 0x80, 0, 0, 0, 0], code: 1002),
            Fault(name: "an opcode that means nothing", bytes: [0x83, 0x80, 0, 0, 0, 0], code: 1002),
            Fault(name: "a ping in parts", bytes: [0x09, 0x80, 0, 0, 0, 0], code: 1002),
            Fault(name: "a long ping", bytes: [0x89, 0xFE, 0, 126], code: 1002),
            Fault(name: "a part of nothing", bytes: [0x80, 0x80, 0, 0, 0, 0], code: 1002),
            Fault(name: "an end of one byte", bytes: [0x88, 0x81, 0, 0, 0, 0, 3], code: 1002),
            Fault(name: "an end with a code of no meaning", bytes: [0x88, 0x82, 0, 0, 0, 0, 3, 0xED], code: 1002),
            Fault(name: "a reason that is no text", bytes: [0x88, 0x83, 0, 0, 0, 0, 3, 0xE8, 0xFF], code: 1007),
            Fault(name: "65,537 bytes", bytes: [0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 1], code: 1009),
            Fault(name: "eight exabytes", bytes: [0x82, 0xFF, 0x7F] + [UInt8](repeating: 0xFF, count: 7), code: 1009),
            Fault(name: "a request of HTTP", bytes: Array("GET / HTTP/1.1\r\n\r\n".utf8), code: 1002),
        ])
    func faults(_ fault: Fault) async throws {
        try await withStreamScene { scene in
            try await scene.withWebSocket { other in
                try await other.expectVersion(1)
                try await scene.withWebSocket { socket in
                    try await socket.expectVersion(1)
                    try await socket.send(fault.bytes)
                    let end = try await socket.next()
                    guard case .close(fault.code, _) = end else {
                        Issue.record("\(String(describing: end))")
                        return
                    }
                    let rest = try await socket.rest()
                    #expect(rest == [])
                }
                try await scene.report(.transcribing, 20)
                try await other.expectVersion(2)
            }
        }
    }

    @Test("A client that floods the server gets a Close")
    func flood() async throws {
        try await withStreamScene(["SSE_MAX_STREAMS": "1"]) { scene in
            try await scene.withWebSocket { socket in
                try await socket.expectVersion(1)
                // More than one MiB. After the Close, the server need not read the rest.
                for _ in 0..<30 { try? await socket.send(2, [UInt8](repeating: 0, count: 40_000)) }
                let end = try await socket.next()
                #expect(end == .close(1008, "too much data"))
            }
            try await eventually("a WebSocket opens again") {
                try await scene.withWebSocket { try await $0.next() } != .close(1013, "too many streams")
            }
        }
    }

    @Test("The server pings every 30 s, even after messages, and goes on after a pong")
    func pings() async throws {
        let clock = ManualClock()
        try await withStreamScene(clock: clock) { scene in
            try await scene.withWebSocket { socket in
                try await socket.expectVersion(1)
                clock.advance(by: .seconds(29))
                try await scene.report(.transcribing, 20)
                try await socket.expectVersion(2)
                // The reactor's clock goes in ticks.
                clock.advance(by: .milliseconds(1_100))
                let ping = try await socket.next()
                #expect(ping == .ping)
                try await socket.send(10)
                // A transition is announced at once. A percentage may have to wait for the clock.
                try await scene.report(.diarizing, 30)
                try await socket.expectVersion(3)
            }
        }
    }

    /// The reports need far more room than the socket buffers have.
    @Test("A slow client gets the transitions and the newest state, and no backlog of percentages")
    func slowReader() async throws {
        let clock = ManualClock()
        try await withStreamScene(clock: clock) { scene in
            // The clock goes at most a quarter as fast as the time of day: the reports end long before the server closes a
            // slow client.
            try await clock.keepMoving(by: .milliseconds(5)) {
                try await scene.withWebSocket(receiveBuffer: 4096) { try await readLate(&$0, scene) }
            }
        }
    }

    /// Reads nothing while a pipeline reports, and then everything.
    private func readLate(_ socket: inout WebSocketConnection, _ scene: StreamScene) async throws {
        try await socket.expectVersion(1)
        try await scene.report(.transcribing, 1)
        // The client's own library reads ahead until this option stops it.
        try await socket.channel.setOption(.autoRead, value: false).get()
        try await scene.database.withConnection { connection in
            try await connection.executeScript(
                """
                DO $$ BEGIN
                    FOR n IN 0..899 LOOP
                        PERFORM app.report_progress(
                            '\(scene.session)', 'transcribing', 1 + n / 10, n || ' ' || repeat('words ', 300));
                        COMMIT;
                        PERFORM pg_sleep(0.01);
                    END LOOP;
                END $$
                """, timeout: TestDeadline.test)
        }
        try await scene.report(.transcribed, 91)
        let last = try await scene.report(.extractingNotes, 92)
        try await socket.channel.setOption(.autoRead, value: true).get()
        let objects = try await socket.objects(upTo: last)
        expectInOrder(objects)
        let seen = Set(objects.map(\.version))
        let transitions = try await scene.transitions(after: 1)
        #expect(transitions.filter { !seen.contains($0) } == [], "skipped")
        #expect(objects.count < last / 2, "a backlog")
    }

    // MARK: - Freed resources

    @Test("Two thousand WebSockets that end in different ways leave no descriptor and no slot behind")
    func descriptors() async throws {
        try await withStreamScene(["SSE_MAX_STREAMS": "60", "SSE_MAX_STREAMS_PER_USER": "60"]) { scene in
            try await withThrowingTaskGroup(of: Void.self) { clients in
                for client in 0..<20 {
                    clients.addTask {
                        for round in 0..<100 { try await openAndLeave(scene, way: client + round) }
                    }
                }
                try await clients.waitForAll()
            }
            try await eventually("every descriptor is closed") { try scene.server.openDescriptors() == 0 }
            let scrape = try await Clinic(scene.server).scrape()
            let labels = ["transport": "websocket"]
            #expect(scrape.value("therapybridge_streams_open", labels) == 0)
            #expect(scrape.value("therapybridge_streams_open", ["transport": "sse"]) == 0)
            #expect(scrape.value("therapybridge_streams_opened_total", labels) ?? 0 > 1000)
            #expect(
                scrape.value(
                    "therapybridge_streams_ended_total", ["transport": "websocket", "reason": "violation"]) ?? 0 > 100)
        }
    }

    private func openAndLeave(_ scene: StreamScene, way: Int) async throws {
        let path = scene.webSocketPath
        switch way % 6 {
        case 0: try await scene.withWebSocket { _ = try await $0.next() }
        case 1:
            try await scene.withWebSocket { socket in
                _ = try await socket.next()
                try await socket.close(1000)
                while try await socket.next() != nil {}
            }
        case 2:
            try await scene.withWebSocket { socket in
                _ = try await socket.next()
                try await socket.send([0xFF])
                while try await socket.next() != nil {}
            }
        case 3:
            try await scene.withWebSocket { socket in
                try await socket.resetOnClose()
            }
        case 4: #expect(try await scene.server.messages(path, token: "nonsense") == [.close(1008, "unauthorized")])
        default:
            // The client leaves before the answer.
            try await scene.server.withWebSocketConnection { connection in
                try await connection.requestUpgrade(path, ["Authorization": "Bearer \(scene.token)"])
            }
        }
    }

    @Test("On SIGTERM, each WebSocket is closed with 1001, and the program ends")
    func shutdown() async throws {
        try await withShutdown(of: 30) { scene, _, opened in
            try await scene.withWebSocket { socket in
                try await socket.expectVersion(1)
                opened()
                try await socket.expectRest(.close(1001, "shutdown"))
            }
        }
    }
}
