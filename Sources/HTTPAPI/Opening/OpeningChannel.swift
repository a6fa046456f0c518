import HummingbirdCore
import Logging
import NIOCore

/// A connection that begins with an ``OpeningHandler``, and gets the framework's handlers only if the framework answers.
struct OpeningChannel: ServerChildChannel {
    /// A connection that the framework answers.
    struct Framework: Sendable {
        let channel: HTTP1Channel.Value
        /// The hub's answer to the first request; nil if the hub was not asked.
        let opening: PreparedOpening?
    }

    /// A connection whose first request is not decided.
    struct Connection: ServerChildChannelValue {
        let channel: any Channel
    }

    let opener: StreamOpener
    let server: HTTP1Channel
    let tasks: FrameworkTasks

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Connection> {
        channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(
                OpeningHandler(
                    opener: opener, server: server, idleTimeout: server.configuration.idleTimeout ?? .hours(1),
                    logger: logger, tasks: tasks))
            return Connection(channel: channel)
        }
    }

    /// Does nothing: a connection gets a task only if the framework answers.
    func handle(value: Connection, logger: Logger) async {}
}

/// Runs a task of the framework for each connection that the framework answers.
///
/// A task that waited from the accept on would cost each opening a wake-up of a thread.
final class FrameworkTasks: Sendable {
    private let connections = AsyncStream.makeStream(of: (HTTP1Channel, OpeningChannel.Framework).self)

    /// Begins the task of a connection, or closes the connection if the server has stopped.
    func begin(_ connection: OpeningChannel.Framework, of server: HTTP1Channel) {
        if case .terminated = connections.continuation.yield((server, connection)) {
            connection.channel.channel.close(promise: nil)
        }
    }

    /// Runs the tasks while a server runs, and waits for the last one.
    func run(_ logger: Logger, while server: () async throws -> Void) async throws {
        async let all: Void = withDiscardingTaskGroup { group in
            for await (server, connection) in connections.stream {
                group.addTask { await Self.handle(connection, of: server, logger) }
            }
        }
        let result: Result<Void, any Error>
        do { result = .success(try await server()) } catch { result = .failure(error) }
        connections.continuation.finish()
        await all
        try result.get()
    }

    private static func handle(_ connection: OpeningChannel.Framework, of server: HTTP1Channel, _ logger: Logger) async
    {
        guard let opening = connection.opening else {
            return await server.handle(value: connection.channel, logger: logger)
        }
        await PreparedOpening.$ofConnection.withValue(opening) {
            await server.handle(value: connection.channel, logger: logger)
        }
    }
}
