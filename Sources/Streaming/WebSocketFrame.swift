public import Domain

/// Makes the frames that the server sends on a WebSocket, each as the bytes of one whole frame.
///
/// RFC 6455, 5.1: "A server MUST NOT mask any frames that it sends to the client." No frame is fragmented.
public enum WebSocketFrame {
    enum Opcode: UInt8 {
        case text = 0x1
        case close = 0x8
        case ping = 0x9
        case pong = 0xA
    }

    /// Makes the message for a state or a transition: the progress object alone.
    ///
    /// - Parameter progress: The state.
    /// - Returns: The frame.
    public static func state(_ progress: SessionProgress) -> [UInt8] {
        var json: [UInt8] = []
        json.reserveCapacity(512)
        appendJSON(progress, to: &json)
        return frame(.text, json)
    }

    /// Makes the Close frame with which the server ends the connection.
    ///
    /// - Parameter close: The code and the reason.
    /// - Returns: The frame.
    public static func close(_ close: WebSocketClose) -> [UInt8] {
        frame(.close, [UInt8(close.code >> 8), UInt8(close.code & 0xFF)] + close.reason.utf8)
    }

    /// Makes the answer to a client's Close frame.
    ///
    /// RFC 6455, 5.5.1: "When sending a Close frame in response, the endpoint typically echos the status code it
    /// received."
    ///
    /// - Parameter code: The code of the client; nil if it sent none.
    /// - Returns: The frame.
    static func close(echoing code: UInt16?) -> [UInt8] {
        frame(.close, code.map { [UInt8($0 >> 8), UInt8($0 & 0xFF)] } ?? [])
    }

    static let ping = frame(.ping, [])

    /// Makes the answer to a ping.
    ///
    /// - Parameter payload: The payload of the ping, of at most 125 bytes.
    /// - Returns: The frame.
    static func pong(_ payload: [UInt8]) -> [UInt8] { frame(.pong, payload) }

    /// Makes a frame.
    ///
    /// RFC 6455, 5.2: the length is in the second byte, or in two or eight bytes after it, in "the minimal number of
    /// bytes".
    static func frame(_ opcode: Opcode, _ payload: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = [0x80 | opcode.rawValue]
        bytes.reserveCapacity(payload.count + 10)
        switch payload.count {
        case ...125: bytes.append(UInt8(payload.count))
        case ...0xFFFF: bytes += [126, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
        default:
            bytes.append(127)
            for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(payload.count >> shift & 0xFF)) }
        }
        return bytes + payload
    }

    /// The end of the frame that begins at an index.
    ///
    /// - Parameters:
    ///   - start: The index.
    ///   - bytes: Frames that this type made.
    /// - Returns: The index after its last byte.
    static func end(ofFrameAt start: Int, in bytes: [UInt8]) -> Int {
        let length = Int(bytes[start + 1])
        let (wide, header) =
            switch length {
            case 126: (2, 4)
            case 127: (8, 10)
            default: (0, 2)
            }
        let size = bytes[start + 2..<start + 2 + wide].reduce(0) { $0 << 8 | Int($1) }
        return start + header + (wide == 0 ? length : size)
    }
}

/// Why a WebSocket is closed: a code of RFC 6455, 7.4.1, or of IANA's registry, and a few words for logs.
public struct WebSocketClose: Equatable, Sendable {
    /// The code.
    public let code: UInt16
    /// The reason, in at most 123 bytes.
    public let reason: String

    private init(_ code: UInt16, _ reason: String) {
        self.code = code
        self.reason = reason
    }

    /// The session is finished, and the server sent its last state.
    public static let finished = WebSocketClose(1000, "finished")
    /// The server stops.
    public static let shutdown = WebSocketClose(1001, "shutdown")
    /// The connection reached its maximum lifetime.
    ///
    /// The client reconnects with its last version.
    public static let comeBack = WebSocketClose(1001, "come back")
    /// The right to see the session was revoked.
    public static let revoked = WebSocketClose(1008, "revoked")
    /// The access token expired.
    public static let expired = WebSocketClose(1008, "expired")
    /// There are too many streams.
    ///
    /// The client reconnects later.
    public static let tooMany = WebSocketClose(1013, "too many streams")

    /// The server refuses the subscriber.
    ///
    /// - Parameter reason: The reason, in at most 123 bytes, because a control frame holds no more.
    /// - Returns: The code 1008 with the reason.
    public static func refused(_ reason: String) -> WebSocketClose { WebSocketClose(1008, reason) }

    /// The server met an error of its own.
    ///
    /// - Parameter reason: The reason, in at most 123 bytes, because a control frame holds no more.
    /// - Returns: The code 1011 with the reason.
    public static func fault(_ reason: String) -> WebSocketClose { WebSocketClose(1011, reason) }

    /// The client broke the protocol.
    static let protocolError = WebSocketClose(1002, "protocol error")
    /// The client sent text that is not UTF-8.
    static let invalidText = WebSocketClose(1007, "invalid text")
    /// The client sent more than a client that only watches needs.
    static let tooMuch = WebSocketClose(1008, "too much data")
    /// The client sent a message that is too long.
    static let tooLarge = WebSocketClose(1009, "message too large")
}
