import NIOCore

/// How a connection leaves the framework.
enum ConnectionTakeover: Sendable {
    /// As a stream of Server-Sent Events.
    case stream(StreamHandoff)
    /// As a WebSocket of progress objects.
    case webSocket(StreamHandoff)
    /// As a WebSocket of events.
    case webSocketEvents(StreamHandoff)
    /// As a WebSocket that ends after these frames.
    case closedWebSocket([UInt8])
}

/// The connection of a request, for the routes whose answer decides what becomes of it.
struct ClientConnection: Sendable {
    let channel: any Channel

    /// Makes the next answer on this connection its takeover.
    ///
    /// If the connection is already closed, this does nothing.
    func leave(as takeover: ConnectionTakeover) async {
        let isArmed = channel.eventLoop.submit { [channel] in
            try channel.pipeline.syncOperations.handler(type: ConnectionHandler.self).takeover = takeover
        }
        try? await isArmed.get()
    }

    /// Calls back when the client closes its side or the connection, or at once if it has.
    ///
    /// A client that only ends its side, and still reads, counts as gone: the server cannot tell the two apart.
    func whenClientLeaves(_ action: @escaping @Sendable () -> Void) async {
        let isArmed = channel.eventLoop.submit { [channel] in
            try channel.pipeline.syncOperations.handler(type: ConnectionHandler.self).whenClientLeaves(action)
        }
        do {
            try await isArmed.get()
        } catch {
            // The connection is closed, and its handlers are gone.
            action()
        }
    }

    /// False once the client has closed its side or the connection.
    var hasClient: Bool {
        get async {
            let hasClient = channel.eventLoop.submit { [channel] in
                try !channel.pipeline.syncOperations.handler(type: ConnectionHandler.self).hasClientLeft
            }
            return (try? await hasClient.get()) ?? false
        }
    }

    /// Makes the server read the rest of the request's body after its answer.
    ///
    /// If the connection is already closed, this does nothing.
    func readRest(_ rest: BodyRest) async {
        let isArmed = channel.eventLoop.submit { [channel] in
            try channel.pipeline.syncOperations.handler(type: PaceHandler.self).readRest(rest)
        }
        try? await isArmed.get()
    }
}
