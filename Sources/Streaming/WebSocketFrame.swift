public import Domain

/// What the server says on a WebSocket, each as the bytes of one whole frame.
///
/// RFC 6455, 5.1: "A server MUST NOT mask any frames that it sends to the client." Nothing is fragmented.
public enum WebSocketFrame {
    enum Opcode: UInt8 {
        case text = 0x1
        case close = 0x8
        case ping = 0x9
        case pong = 0xA
    }

    /// A state, or a transition that lies behind it: the progress object and nothing else.
    public static func state(_ progress: SessionProgress) -> [UInt8] {
        var json: [UInt8] = []
        json.reserveCapacity(512)
        appendJSON(progress, to: &json)
        return frame(.text, json)
    }

    /// The end, as far as the server is concerned.
    public static func close(_ close: WebSocketClose) -> [UInt8] {
        frame(.close, [UInt8(close.code >> 8), UInt8(close.code & 0xFF)] + close.reason.utf8)
    }

    /// The answer to a client's end.
    ///
    /// RFC 6455, 5.5.1: "When sending a Close frame in response, the endpoint typically echos the status code it received."
    ///
    /// - Parameter code: What the client said; nil when it gave none.
    static func close(echoing code: UInt16?) -> [UInt8] {
        frame(.close, code.map { [UInt8($0 >> 8), UInt8($0 & 0xFF)] } ?? [])
    }

    static let ping = frame(.ping, [])

    /// - Parameter payload: That of the ping, of at most 125 bytes.
    static func pong(_ payload: [UInt8]) -> [UInt8] { frame(.pong, payload) }

    /// RFC 6455, 5.2: the length is in the second byte, or in two or eight bytes behind it, in "the minimal number of bytes".
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

    /// Where the frame ends that begins at an index of bytes that this made.
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

/// Why a WebSocket is closed: a code of RFC 6455, 7.4.1, or of IANA's registry, and a few words for whoever reads a log.
public struct WebSocketClose: Equatable, Sendable {
    public let code: UInt16
    public let reason: String

    private init(_ code: UInt16, _ reason: String) {
        self.code = code
        self.reason = reason
    }

    /// The session is finished, and its last state was sent.
    public static let finished = WebSocketClose(1000, "finished")
    /// The server stops.
    public static let shutdown = WebSocketClose(1001, "shutdown")
    /// The connection has lived as long as one may: come back with the last version.
    public static let comeBack = WebSocketClose(1001, "come back")
    /// The right to see the session has ended.
    public static let revoked = WebSocketClose(1008, "revoked")
    /// The access token has expired.
    public static let expired = WebSocketClose(1008, "expired")
    /// There are too many streams: come back later.
    public static let tooMany = WebSocketClose(1013, "too many streams")

    /// The watcher is not let in.
    ///
    /// - Parameter reason: At most 123 bytes, for a control frame holds no more.
    public static func refused(_ reason: String) -> WebSocketClose { WebSocketClose(1008, reason) }

    /// Something went wrong here.
    ///
    /// - Parameter reason: At most 123 bytes, for a control frame holds no more.
    public static func fault(_ reason: String) -> WebSocketClose { WebSocketClose(1011, reason) }

    /// What the client sent is not allowed by the protocol.
    static let protocolError = WebSocketClose(1002, "protocol error")
    /// What is said to be text is none.
    static let invalidText = WebSocketClose(1007, "invalid text")
    /// The client sends more than anybody should who only watches.
    static let tooMuch = WebSocketClose(1008, "too much data")
    /// A message of the client is too long.
    static let tooLarge = WebSocketClose(1009, "message too large")
}
