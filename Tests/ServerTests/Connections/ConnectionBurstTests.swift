import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import ServerTestSupport
import TestSupport
import Testing

/// Many clients that connect at once.
@Suite("Bursts of connections", .deadlineAlone, .serialized) struct ConnectionBurstTests {
    private static let request = "GET /health/live HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"

    /// Keeps the event loops busy until ``release()``.
    private struct HeldEventLoops: ~Copyable {
        private let gate = DispatchSemaphore(value: 0)
        private let count: Int

        init() {
            var count = 0
            for eventLoop in MultiThreadedEventLoopGroup.singleton.makeIterator() {
                eventLoop.execute { [gate] in gate.wait() }
                count += 1
            }
            self.count = count
        }

        deinit { for _ in 0..<count { gate.signal() } }

        consuming func release() {}
    }

    /// More connections than the kernel's queue holds, if this process may have as many descriptors.
    private static func moreThanTheQueueHolds() throws -> Int {
        raiseDescriptorLimit()
        let text = try String(contentsOfFile: "/proc/sys/net/core/somaxconn", encoding: .utf8)
        let queue = Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 4096
        return min(queue + 500, 6000)
    }

    @Test("The server accepts all connections of a burst while its event loops are busy, and answers them later")
    func busyEventLoops() async throws {
        let count = try Self.moreThanTheQueueHolds()
        try await withServer { server in
            let sockets: [RawSocket]
            do {
                let loops = HeldEventLoops()
                sockets = try server.rawSockets(count)
                try await eventually("the handshakes") { sockets.allSatisfy(\.isConnected) }
                for socket in sockets { try socket.send(Self.request) }
                try await eventually("the server has accepted all") { try server.openDescriptors() == count }
                #expect(sockets.allSatisfy { $0.received.isEmpty })
                loops.release()
            }
            try await eventually("all answers") { sockets.allSatisfy(\.hasEnded) }
            #expect(sockets.allSatisfy { answerStatuses(in: $0.received) == [200] })
            // After its half of a connection, the server waits for the client to close the other one.
            for socket in sockets { socket.close() }
            try await eventually("every descriptor is closed") { try server.openDescriptors() == 0 }
        }
    }

    @Test("A burst on both loopback addresses never exceeds the limit of connections, and all get their turn")
    func limit() async throws {
        let limit = 20
        try await withServer(["HTTP_MAX_CONNECTIONS": "\(limit)"]) { server in
            var waiting: [RawSocket] = []
            for _ in 0..<60 {
                waiting += try server.rawSockets(1) + server.rawSockets(1, usesIPv6: true)
            }
            try await eventually("the handshakes") { waiting.allSatisfy(\.isConnected) }
            // The server keeps these connections after its answer.
            for socket in waiting { try socket.send("GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n") }
            while !waiting.isEmpty {
                let expected = min(limit, waiting.count)
                try await eventually("as many answers as the limit allows") {
                    let open = try server.openDescriptors()
                    #expect(open <= limit)
                    return waiting.count { !$0.received.isEmpty } == expected
                }
                #expect(try server.openDescriptors() == expected)
                let answered = waiting.filter { !$0.received.isEmpty }
                #expect(answered.allSatisfy { answerStatuses(in: $0.received) == [200] })
                for socket in answered { socket.close() }
                waiting.removeAll { !$0.received.isEmpty }
            }
            try await eventually("every descriptor is closed") { try server.openDescriptors() == 0 }
        }
    }

    @Test("Clients that leave before they are accepted do not use up the limit")
    func leave() async throws {
        try await withServer(["HTTP_MAX_CONNECTIONS": "2"]) { server in
            for round in 0..<20 {
                for socket in try server.rawSockets(20, usesIPv6: round.isMultiple(of: 2)) { socket.close() }
            }
            #expect(try await server.request(.GET, "/health/live").status == 200)
            try await eventually("every descriptor is closed") { try server.openDescriptors() <= 1 }
        }
    }
}

extension TestServer {
    /// Begins to connect many sockets at once.
    fileprivate func rawSockets(_ count: Int, usesIPv6: Bool = false) throws -> [RawSocket] {
        try (0..<count).map { _ in try RawSocket(port: port, usesIPv6: usesIPv6) }
    }
}
