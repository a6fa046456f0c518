import Crypto
import FoundationEssentials
import HTTPTypes
import Hummingbird

/// A client's request for a WebSocket, read strictly (RFC 6455, 4.2.1), and the server's answer to it (4.2.2).
struct WebSocketHandshake {
    private static let version = "13"

    /// The text after the client's key in the hash, which proves that the server knows WebSockets (RFC 6455, 1.3).
    private static let identifier = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

    private let key: String

    /// Reads the handshake of a request.
    ///
    /// - Parameter request: The request.
    /// - Throws: 426 for a request without this protocol or this version; 400 for a malformed one.
    init(_ request: Request) throws(Problem) {
        guard request.method == .get, request.head.asksForUpgrade,
            request.headers.hasToken("websocket", in: .upgrade),
            request.headers[.secWebSocketVersion] == Self.version
        else { throw Self.upgradeRequired }
        // A body would count as the first frames.
        guard request.headers[.transferEncoding] == nil, ["0", nil].contains(request.headers[.contentLength]) else {
            throw Problem(.malformed, "A request for a WebSocket has no body.").closing()
        }
        guard let key = request.headers[.secWebSocketKey], let bytes = Data(base64Encoded: key),
            bytes.count == 16, bytes.base64EncodedString() == key
        else { throw Problem(.malformed, "Sec-WebSocket-Key: is not 16 bytes in Base64.").closing() }
        self.key = key
    }

    /// The answer to a client that does not ask for this protocol or version.
    ///
    /// RFC 9110, 15.5.22: "The server MUST send an Upgrade header field in a 426 response". RFC 6455, 4.4: if the
    /// version does not fit, the answer names the versions that do.
    private static var upgradeRequired: Problem {
        var problem = Problem(.upgradeRequired, "This route serves only WebSocket clients of version \(version).")
        problem.headers[.upgrade] = "websocket"
        problem.headers[.connection] = "upgrade"
        problem.headers[.secWebSocketVersion] = version
        return problem
    }

    /// The answer that begins the WebSocket, without extensions or subprotocols.
    var response: Response {
        // RFC 6455, 1.3 prescribes SHA-1. Nothing here depends on its strength.
        let digest = Insecure.SHA1.hash(data: Data((key + Self.identifier).utf8))
        return Response(
            status: .switchingProtocols,
            headers: [
                .upgrade: "websocket", .connection: "upgrade",
                .secWebSocketAccept: Data(digest).base64EncodedString(),
            ])
    }
}

extension HTTPRequest {
    /// True if the client asks to change to another protocol, whatever it is.
    var asksForUpgrade: Bool { headerFields[.upgrade] != nil && headerFields.hasToken("upgrade", in: .connection) }
}
