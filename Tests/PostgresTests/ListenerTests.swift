import Foundation
import Glibc
import LocalPostgres
import Logging
import Polling
import PostgresTestSupport
import ServiceLifecycle
import TestSupport
import TestTime
import Testing

@testable import Postgres

typealias Events = any AsyncIteratorProtocol<ListenerEvent, Never>

/// Runs a listener and lends its events, one by one.
func withListener(
    channels: [String],
    bufferLimit: Int = 16_384,
    timing: ListenerTiming = ListenerTiming(),
    configuration: PostgresConfiguration? = nil,
    clock: any MonotonicClock = ContinuousClock(),
    _ body: (PostgresListener, inout Events) async throws -> Void
) async throws {
    let used: PostgresConfiguration
    if let configuration { used = configuration } else { used = try await testConfiguration() }
    let listener = PostgresListener(
        configuration: used, channels: channels, bufferLimit: bufferLimit, timing: timing,
        runtime: try PostgresRuntime(clock: clock))
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await listener.run() }
        var events: Events = listener.events().makeAsyncIterator()
        try await body(listener, &events)
        group.cancelAll()
    }
}

extension AsyncIteratorProtocol where Element == ListenerEvent, Failure == Never {
    /// Takes events up to the first `live`, and returns the earlier ones.
    mutating func untilLive(fileID: String = #fileID, line: Int = #line) async throws -> [ListenerEvent] {
        try await within("the listener is live", fileID: fileID, line: line) {
            var before: [ListenerEvent] = []
            while let event = await next(isolation: #isolation) {
                if event == .live { return before }
                before.append(event)
            }
            Issue.record("the listener ended before it was live")
            return before
        }
    }

    /// Takes events until there are so many notifications.
    mutating func notifications(
        _ count: Int, fileID: String = #fileID, line: Int = #line
    ) async throws -> [PostgresNotification] {
        try await within("\(count) notifications", fileID: fileID, line: line) {
            var received: [PostgresNotification] = []
            while received.count < count, let event = await next(isolation: #isolation) {
                if case .notifications(let batch) = event { received += batch }
            }
            return received
        }
    }

    /// Takes events up to the first degradation, and returns it.
    mutating func trouble(fileID: String = #fileID, line: Int = #line) async throws -> ListenerTrouble? {
        try await within("the listener is degraded", fileID: fileID, line: line) {
            while let event = await next(isolation: #isolation) {
                if case .degraded(let trouble) = event { return trouble }
            }
            return nil
        }
    }
}

@Suite("The listener", .deadline) struct ListenerTests {
    @Test("Notifications after live arrive in order")
    func inOrder() async throws {
        let channel = "order_\(UUID())"
        try await withListener(channels: [channel]) { _, events in
            _ = try await events.untilLive()
            try await withConnection { connection in
                for number in 1...100 { try await connection.execute("SELECT pg_notify(\(channel), \("\(number)"))") }
            }
            let received = try await events.notifications(100)
            #expect(received.map(\.payload) == (1...100).map { "\($0)" })
            #expect(received.allSatisfy { $0.channel == channel && $0.processID > 0 })
        }
    }

    @Test("Notifications that are not committed, or rolled back, never arrive")
    func uncommitted() async throws {
        let channel = "commit_\(UUID())"
        try await withListener(channels: [channel]) { _, events in
            _ = try await events.untilLive()
            try await withConnection { connection in
                _ = try? await connection.withTransaction { connection in
                    try await connection.execute("SELECT pg_notify(\(channel), 'rolled back')")
                    throw CancellationError()
                }
                try await connection.withTransaction { connection in
                    try await connection.execute("SELECT pg_notify(\(channel), 'committed')")
                }
            }
            let received = try await events.notifications(1)
            #expect(received.map(\.payload) == ["committed"])
        }
    }

    @Test("Several channels, also with odd names, share one connection")
    func channels() async throws {
        let channels = ["plain_\(UUID())", "With \"quotes\" \(UUID())"]
        try await withListener(channels: channels) { _, events in
            _ = try await events.untilLive()
            try await withConnection { connection in
                for channel in channels { try await connection.execute("SELECT pg_notify(\(channel), '')") }
            }
            let received = try await events.notifications(2)
            #expect(received.map(\.channel) == channels)
        }
    }

    @Test("A listener whose server process ends degrades and comes back")
    func endedProcess() async throws {
        let channel = "killed_\(UUID())"
        let configuration = try await testConfiguration { $0.applicationName = channel }
        try await withListener(channels: [channel], configuration: configuration) { listener, events in
            _ = try await events.untilLive()
            try await withConnection { connection in
                let ended = try await connection.query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = \(channel)")
                #expect(ended.count == 1)
            }
            let before = try await events.untilLive()
            #expect(before.allSatisfy { $0 == .degraded(.connectionLost) })
            #expect(listener.isLive)
            #expect(listener.statistics.livePeriods == 2)
            try await withConnection { _ = try await $0.execute("SELECT pg_notify(\(channel), 'again')") }
            let received = try await events.notifications(1)
            #expect(received.map(\.payload) == ["again"])
        }
    }

    @Test("The listener survives a crash of the server")
    func crash() async throws {
        let server = try await TestCluster.makeCluster(listensOnLoopback: true)
        let configuration = try PostgresConfiguration(connectionString: server.connectionString())
        try await withListener(channels: ["crash"], configuration: configuration) { listener, events in
            _ = try await events.untilLive()
            try await server.stop(mode: .immediate)
            // When the test reads it, the next attempt may have failed too.
            let trouble = try await events.trouble()
            #expect(trouble == .connectionLost || trouble == .cannotConnect)
            #expect(!listener.isLive)
            try await server.start()
            _ = try await events.untilLive()
        }
        try await server.stop(mode: .immediate)
    }

    @Test("Too many notifications become one overflow, and later ones arrive")
    func overflow() async throws {
        let channel = "overflow_\(UUID())"
        try await withListener(channels: [channel], bufferLimit: 10) { listener, events in
            _ = try await events.untilLive()
            try await withConnection { connection in
                // One commit, so that all of them arrive before the consumer reads.
                _ = try await connection.query(
                    "SELECT pg_notify(\(channel), n::text) FROM generate_series(1, 1000) AS n")
            }
            try await eventually("all notifications have arrived") { listener.statistics.notifications == 1000 }
            let event = await events.next(isolation: #isolation)
            #expect(event == .overflow)
            #expect(listener.statistics.overflows >= 1)
            try await withConnection { _ = try await $0.execute("SELECT pg_notify(\(channel), 'after')") }
            var payloads: [String] = []
            while payloads.last != "after" { payloads += try await events.notifications(1).map(\.payload) }
        }
    }

    @Test("A quiet listener asks the server, and stays live while it answers")
    func quietListener() async throws {
        let channel = "quiet_\(UUID())"
        let configuration = try await testConfiguration { $0.applicationName = channel }
        let clock = ManualClock()
        try await withListener(channels: [channel], configuration: configuration, clock: clock) { listener, events in
            _ = try await events.untilLive()
            // The wait for a notification begins some time after the `live` event.
            try await eventually("the listener has asked") {
                clock.advance(by: .seconds(1))
                return try await withConnection { connection in
                    let rows = try await connection.query(
                        """
                        SELECT 1 FROM pg_stat_activity
                        WHERE application_name = \(channel) AND query = 'SELECT pg_listening_channels()'
                        """)
                    return !rows.isEmpty
                }
            }
            #expect(listener.isLive)
            #expect(listener.statistics.livePeriods == 1)
        }
    }

    @Test("The question finds a half-open connection")
    func halfOpen() async throws {
        let server = try await TestCluster.reachable.server()
        let proxy = try TCPProxy(to: server.port)
        defer { proxy.stop() }
        let configuration = try PostgresConfiguration(
            connectionString:
                "host=127.0.0.1 port=\(proxy.port) user=postgres password=\(server.superuserPassword)",
            connectTimeout: .seconds(3600))
        let clock = ManualClock()
        try await withListener(channels: ["half_open"], configuration: configuration, clock: clock) {
            listener, events in
            _ = try await events.untilLive()
            proxy.freeze()
            try await eventually("the question gets no answer in time") {
                clock.advance(by: .seconds(1))
                return listener.statistics.failures > 0
            }
            let trouble = try await events.trouble()
            #expect(trouble == .notListening)
            proxy.thaw()
            try await eventually("the listener is live again") {
                clock.advance(by: .milliseconds(100))
                return listener.isLive
            }
            _ = try await events.untilLive()
        }
    }

    @Test("Without a server the listener tries again, and ends when its task is cancelled")
    func noServer() async throws {
        let (descriptor, port) = try listenOnLoopback()
        close(descriptor)
        let configuration = try PostgresConfiguration(connectionString: "host=127.0.0.1 port=\(port)")
        let clock = ManualClock()
        try await withListener(channels: ["nobody"], configuration: configuration, clock: clock) { listener, events in
            let trouble = try await events.trouble()
            #expect(trouble == .cannotConnect)
            try await clock.waitForSleepers()
            #expect(listener.statistics.failures == 1)
            try await eventually("the listener has tried again") {
                clock.advance(by: .seconds(1))
                return listener.statistics.failures >= 3
            }
        }
    }

    @Test("As a service, the listener and its events end with the graceful shutdown")
    func service() async throws {
        let listener = try PostgresListener(
            configuration: try await testConfiguration(), channels: ["service"])
        let group = ServiceGroup(services: [listener], logger: .init(label: "test"))
        let running = Task { try await group.run() }
        let consumer = Task {
            var seen: [ListenerEvent] = []
            for await event in listener.events() {
                seen.append(event)
                if event == .live { await group.triggerGracefulShutdown() }
            }
            return seen
        }
        let seen = await consumer.value
        #expect(seen == [.live])
        try await running.value
        #expect(!listener.isLive)
    }
}
