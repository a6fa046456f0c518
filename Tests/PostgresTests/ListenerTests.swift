import Foundation
import Testing

@testable import Postgres

/// Runs a listener and lends its events, which are taken one by one.
func withListener(
    channels: [String],
    bufferLimit: Int = 16_384,
    timing: ListenerStateMachine.Timing = .init(),
    configuration: PostgresConfiguration? = nil,
    _ body: (PostgresListener, inout any AsyncIteratorProtocol<ListenerEvent, Never>) async throws -> Void
) async throws {
    let used: PostgresConfiguration
    if let configuration { used = configuration } else { used = try await testConfiguration() }
    let listener = try PostgresListener(
        configuration: used, channels: channels, bufferLimit: bufferLimit, timing: timing)
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await listener.run() }
        var events: any AsyncIteratorProtocol<ListenerEvent, Never> = listener.events().makeAsyncIterator()
        try await body(listener, &events)
        group.cancelAll()
    }
}

extension AsyncIteratorProtocol where Element == ListenerEvent, Failure == Never {
    /// Takes events up to the first `live`, and returns what came before.
    mutating func untilLive() async -> [ListenerEvent] {
        var before: [ListenerEvent] = []
        while let event = await next(isolation: #isolation) {
            if event == .live { return before }
            before.append(event)
        }
        Issue.record("the listener ended before it was live")
        return before
    }

    /// Takes events until a number of notifications is there.
    mutating func notifications(_ count: Int) async -> [PostgresNotification] {
        var received: [PostgresNotification] = []
        while received.count < count, let event = await next(isolation: #isolation) {
            if case .notifications(let batch) = event { received += batch }
        }
        return received
    }
}

@Suite(.timeLimit(.minutes(2))) struct ListenerTests {
    @Test func `What is notified after live is heard in order`() async throws {
        let channel = "order_\(UUID())"
        try await withListener(channels: [channel]) { _, events in
            _ = await events.untilLive()
            try await withConnection { connection in
                for number in 1...100 { try await connection.execute("SELECT pg_notify(\(channel), \("\(number)"))") }
            }
            await #expect(events.notifications(100).map(\.payload) == (1...100).map { "\($0)" })
        }
    }

    @Test func `A listener whose server process is ended degrades and comes back`() async throws {
        let channel = "killed_\(UUID())"
        let configuration = try await testConfiguration { $0.applicationName = channel }
        try await withListener(channels: [channel], configuration: configuration) { listener, events in
            _ = await events.untilLive()
            try await withConnection { connection in
                let ended = try await connection.query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = \(channel)")
                #expect(ended.count == 1)
            }
            await #expect(events.untilLive() == [.degraded(.connectionLost)])
            #expect(listener.isLive)
        }
    }
}
