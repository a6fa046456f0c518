import NIOCore

/// How a connection leaves the framework.
enum ConnectionTakeover: Sendable {
    /// As the stream of a watcher.
    case stream(StreamHandoff)
    /// As the WebSocket of a watcher.
    case webSocket(StreamHandoff)
    /// As a WebSocket on which these frames are all there is.
    case closedWebSocket([UInt8])
}

/// The connection behind a request, for the routes that answer with a stream.
struct ClientConnection: Sendable {
    let channel: any Channel

    /// Makes the answer that comes next the connection's takeover.
    ///
    /// If the connection is gone, so is whoever wanted the stream.
    func leave(as takeover: ConnectionTakeover) async {
        let isArmed = channel.eventLoop.submit { [channel] in
            try channel.pipeline.syncOperations.handler(type: ConnectionHandler.self).takeover = takeover
        }
        try? await isArmed.get()
    }
}
