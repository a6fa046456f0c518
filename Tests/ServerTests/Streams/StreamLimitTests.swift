import Domain
import Foundation
import NIOCore
import NIOPosix
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// docs/streams.md: limits, disconnects and the server's shutdown.
@Suite(.deadline) struct StreamLimitTests {
    @Test(
        "Over a limit, a stream sends unavailable and ends",
        arguments: ["SSE_MAX_STREAMS", "SSE_MAX_STREAMS_PER_USER"])
    func limit(setting: String) async throws {
        try await withStreamScene([setting: "1"]) { scene in
            let other = try await StreamScene(scene.server)
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                try await scene.withStream { try await expectUnavailable($0) }
                // The limit of one user does not affect another.
                try await other.withStream { reader in
                    if setting == "SSE_MAX_STREAMS" {
                        try await expectUnavailable(reader)
                    } else {
                        _ = try await reader.next("progress")
                    }
                }
                // The open stream does not notice the rejected ones.
                try await scene.report(.transcribing, 20)
                #expect(try await reader.next("progress").version == 2)
            }
        }
    }

    enum Departure: CaseIterable, Sendable { case closes, resets, leavesAtOnce }

    @Test("A disconnect frees the slot of the stream", arguments: Departure.allCases)
    func departure(_ departure: Departure) async throws {
        try await withStreamScene(["SSE_MAX_STREAMS": "1", "SSE_HEARTBEAT_INTERVAL": "3600"]) { scene in
            for _ in 0..<3 {
                // The server frees the slot of the stream before a moment after that stream has left.
                try await eventually("a stream opens, and its client leaves") {
                    try await scene.server.withWire { connection in
                        try await connection.send("GET", scene.path, token: scene.token)
                        if departure == .leavesAtOnce { return true }
                        let head = try await connection.read(upTo: "event: ")
                        #expect(head.hasPrefix("HTTP/1.1 200 "))
                        guard try await connection.read(upTo: "\n") == "progress\n" else { return false }
                        if departure == .resets { try await connection.resetOnClose() }
                        return true
                    }
                }
                try await eventually("a stream opens again") {
                    try await scene.withStream { try await $0.nextEvent() }?.event == "progress"
                }
            }
        }
    }

    @Test("A finished stream frees its slot")
    func endsFreeSlots() async throws {
        try await withStreamScene(["SSE_MAX_STREAMS": "1"]) { scene in
            try await scene.report(.failed, 0, error: "No speech.")
            for _ in 0..<5 {
                try await scene.withStream { reader in
                    let events = try await reader.rest()
                    #expect(events.last?.event == "error")
                }
                // The server frees the slot a moment after the client has seen the end.
                try await eventually("a slot is free for the next stream") {
                    try await scene.withStream { try await $0.rest() }.last?.event == "error"
                }
            }
        }
    }

    @Test("On SIGTERM, every stream gets a reconnection delay and ends cleanly")
    func shutdown() async throws {
        try await withDatabase { database in
            try await withServingProgram(over: database) { server, program in
                let scene = try await StreamScene(server)
                try await scene.withStream { reader in
                    try await server.withWire { connection in
                        _ = try await reader.next("progress")
                        try await connection.send("GET", scene.path, token: scene.token)
                        _ = try await connection.read(upTo: "\"pending\"")
                        try program.terminate()
                        let blocks = try await reader.rest()
                        let retry = try #require(blocks.compactMap(\.retry).first)
                        #expect((500...5000).contains(retry))
                        #expect(blocks.compactMap(\.event) == [])
                        let text = try await connection.readTextToEnd()
                        #expect(text.contains("retry: "))
                        #expect(text.hasSuffix("\n\r\n0\r\n\r\n"))
                    }
                }
            }
        }
    }
}
