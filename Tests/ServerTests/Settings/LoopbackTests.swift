import NIOCore
import NIOHTTP1
import NIOPosix
import ServerTestSupport
import TestSupport
import Testing

@Suite("The two loopback addresses", .deadline)
struct LoopbackTests {
    private static let warning = "not listening on one of the two loopback addresses"

    @Test(
        "On a loopback address, the server listens on both",
        arguments: [nil, "127.0.0.1", "::1", "localhost", "LocalHost"])
    func both(host: String?) async throws {
        let log = LogMemory()
        try await withServer(host.map { ["HOST": $0] } ?? [:], log: log) { server async throws in
            for address in ["127.0.0.1", "::1"] {
                let connection = try await server.attackConnection(to: address)
                await connection.send(Self.health)
                try await eventually("an answer on \(address)") { answerStatuses(in: connection.received) == [200] }
                await connection.close()
            }
        }
        #expect(!log.text.contains(Self.warning))
    }

    @Test("If another program has the port of one address, the server says so and serves on the other")
    func otherTaken() async throws {
        let (port, other) = try await portTakenOnIPv6()
        let log = LogMemory()
        try await withServer(["PORT": "\(port)"], log: log) { server async throws in
            #expect(server.port == port)
            #expect(try await server.request(.GET, "/health").status == 200)
        }
        try await other.close()
        let lines = log.warnings.filter { $0.contains(Self.warning) }
        #expect(lines.count == 1)
        for part in ["\"address\": ::1", "\"port\": \(port)", "\"reason\": portTaken"] {
            #expect(lines.first?.contains(part) == true, "\(lines)")
        }
    }

    @Test("On any other address, the server listens on that one only")
    func otherAddress() async throws {
        try await withServer(["HOST": "0.0.0.0"]) { server async throws in
            #expect(try await server.request(.GET, "/health").status == 200)
            await #expect(throws: (any Error).self) { try await server.attackConnection(to: "::1") }
        }
    }

    @Test("The limit of connections counts the connections to both addresses")
    func connectionLimit() async throws {
        try await withServer(["HTTP_MAX_CONNECTIONS": "2"]) { server async throws in
            let first = try await server.attackConnection(to: "127.0.0.1")
            let second = try await server.attackConnection(to: "::1")
            for connection in [first, second] {
                await connection.send(Self.health)
                try await eventually("an answer within the limit") {
                    answerStatuses(in: connection.received) == [200]
                }
            }
            let late = try await server.attackConnection(to: "::1")
            await late.send(Self.health)
            for round in 2...20 {
                await second.send(Self.health)
                try await eventually("an answer to each request") {
                    answerStatuses(in: second.received).count == round
                }
            }
            #expect(late.received.isEmpty)
            // The other address gets the free place.
            await first.close()
            try await eventually("an answer on the waiting connection") {
                answerStatuses(in: late.received) == [200]
            }
            for connection in [second, late] { await connection.close() }
        }
    }

    private static let health = "GET /health HTTP/1.1\r\nHost: test\r\n\r\n"

    /// Takes a port of the loopback address of IPv6 that is free on the one of IPv4.
    private func portTakenOnIPv6() async throws -> (port: Int, socket: any Channel) {
        let bootstrap = ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
        for _ in 0..<20 {
            let socket = try await bootstrap.bind(host: "::1", port: 0).get()
            let port = try #require(socket.localAddress?.port)
            if let free = try? await bootstrap.bind(host: "127.0.0.1", port: port).get() {
                try await free.close()
                return (port, socket)
            }
            try await socket.close()
        }
        throw NoFreePort()
    }

    private struct NoFreePort: Error {}
}
