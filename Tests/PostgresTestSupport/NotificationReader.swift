import Foundation
import Postgres
import TestSupport

/// Receives the notifications of the sessions' channel, as a server does.
public final class NotificationReader {
    private let database: TestDatabase
    private var iterator: AsyncStream<ListenerEvent>.AsyncIterator
    private var pending: [String] = []

    init(database: TestDatabase, events: AsyncStream<ListenerEvent>) {
        self.database = database
        iterator = events.makeAsyncIterator()
    }

    /// The notifications of everything that was committed since the last call.
    ///
    /// PostgreSQL delivers notifications in the order of their commits. The reader sends a mark of its own and reads up
    /// to it. A notification that did not come by then was never sent.
    public func received() async throws -> [String] {
        let mark = "mark \(UUID())"
        try await database.query("SELECT pg_notify(\(NotificationReader.channel), \(mark))")
        while true {
            if let end = pending.firstIndex(of: mark) {
                defer { pending.removeFirst(end + 1) }
                return Array(pending[..<end])
            }
            switch try await next() {
            case .notifications(let notifications): pending += notifications.map(\.payload)
            case let event: throw ListenerTrouble(event: event)
            }
        }
    }

    /// Waits until the listener is live.
    func goLive() async throws {
        let event = try await next()
        guard event == .live else { throw ListenerTrouble(event: event) }
    }

    private func next() async throws -> ListenerEvent? {
        try await within("an event of the listener") { await iterator.next() }
    }

    fileprivate static let channel = "tb_session_v1"
}

/// The listener reported an unexpected event.
struct ListenerTrouble: Error {
    let event: ListenerEvent?
}

/// Lends a reader of a database's notifications.
public func withNotifications<Result: Sendable>(
    of database: TestDatabase, _ body: @escaping @Sendable (NotificationReader) async throws -> Result
) async throws -> Result {
    let listener = try PostgresListener(
        configuration: try PostgresConfiguration.forTests(database.url("therapybridge_server")),
        channels: [NotificationReader.channel])
    let (events, continuation) = AsyncStream.makeStream(of: ListenerEvent.self)
    return try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await listener.run() }
        group.addTask {
            for await event in listener.events() { continuation.yield(event) }
            continuation.finish()
        }
        defer { group.cancelAll() }
        let reader = NotificationReader(database: database, events: events)
        try await reader.goLive()
        return try await body(reader)
    }
}
