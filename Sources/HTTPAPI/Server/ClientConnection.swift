import NIOCore

/// How a connection leaves the framework.
enum ConnectionTakeover: Sendable {
    /// As a stream of Server-Sent Events.
    case stream(StreamHandoff)
    /// As a WebSocket.
    case webSocket(StreamHandoff)
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
