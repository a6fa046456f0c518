import Crypto
import Foundation
import HTTPTypes
import Hummingbird

/// A client's wish to go on as a WebSocket, read strictly (RFC 6455, 4.2.1), and the server's consent (4.2.2).
struct WebSocketHandshake {
    private static let version = "13"

    /// What goes behind the client's key, to prove that it was read by somebody who knows WebSockets (RFC 6455, 1.3).
    private static let identifier = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

    private let key: String

    /// - Throws: 426 for a request that does not ask for this protocol in this version; 400 for one that does so wrongly.
    init(_ request: Request) throws(Problem) {
        guard request.method == .get, request.head.asksForUpgrade,
            request.headers.hasToken("websocket", in: .upgrade),
            request.headers[.secWebSocketVersion] == Self.version
        else { throw Self.upgradeRequired }
        // A body would be taken for the first frames.
        guard request.headers[.transferEncoding] == nil, ["0", nil].contains(request.headers[.contentLength]) else {
            throw Problem(.malformed, "A request for a WebSocket has no body.").closing()
        }
        guard let key = request.headers[.secWebSocketKey], let bytes = Data(base64Encoded: key),
            bytes.count == 16, bytes.base64EncodedString() == key
        else { throw Problem(.malformed, "Sec-WebSocket-Key: is not 16 bytes in base64.").closing() }
        self.key = key
    }

    /// What a client is told that does not ask for this.
    ///
    /// RFC 9110, 15.5.22: "The server MUST send an Upgrade header field in a 426 response". RFC 6455, 4.4: where it is the
    /// version that does not suit, those that would are named.
    private static var upgradeRequired: Problem {
        var problem = Problem(.upgradeRequired, "This answers to WebSocket clients of version \(version) alone.")
        problem.headers[.upgrade] = "websocket"
        problem.headers[.connection] = "upgrade"
        problem.headers[.secWebSocketVersion] = version
        return problem
    }

    /// The consent; of extensions and subprotocols none is chosen.
    var response: Response {
        // RFC 6455, 1.3 asks for SHA-1, of which nothing here depends on being hard to forge.
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
    /// Whether the connection is to go on in another protocol, whichever.
    var asksForUpgrade: Bool { headerFields[.upgrade] != nil && headerFields.hasToken("upgrade", in: .connection) }
}

extension HTTPFields {
    /// Whether a list has a token, in any case (RFC 9110, 5.6.1 and 7.6.1).
    func hasToken(_ token: String, in name: HTTPField.Name) -> Bool {
        self[values: name].flatMap { $0.split(separator: ",") }
            .contains { $0.trimmingCharacters(in: .whitespaces).lowercased() == token }
    }
}
