/// Bytes that are written whole or not at all.
///
/// All streams that get a frame share it.
///
/// In a response's body a frame is one chunk. RFC 9112, 7.1: a chunk is its size in hexadecimal, CRLF, the data, CRLF;
/// a chunk of size zero ends the body. A WebSocket has frames of its own, and this object then contains those.
public final class Frame: Sendable {
    let bytes: [UInt8]
    /// The payload alone, for clients of HTTP/1.0, which know no chunks and read until the connection ends.
    let payload: Range<Int>
    /// How many of the bytes are the response's head; 0 if there is none.
    let headLength: Int

    /// Wraps a payload into a chunk.
    ///
    /// - Parameters:
    ///   - payload: At least one byte, because an empty chunk would end the body.
    ///   - isLast: Whether the body ends with it.
    public init(_ payload: [UInt8], isLast: Bool = false) {
        precondition(!payload.isEmpty, "an empty chunk ends the body")
        var bytes = Self.chunk(payload.count)
        let start = bytes.count
        bytes += payload
        self.payload = start..<bytes.count
        bytes += Self.lineEnd
        if isLast { bytes += Self.end }
        self.bytes = bytes
        headLength = 0
    }

    /// Joins a response's head and the first payload, which go out in one write.
    ///
    /// - Parameters:
    ///   - head: The response's head.
    ///   - payload: The first payload.
    ///   - isChunked: Whether the head says `Transfer-Encoding: chunked`.
    public init(head: [UInt8], payload: [UInt8], isChunked: Bool) {
        var bytes: [UInt8] = []
        // Room for the size of a chunk and the ends of lines: a growing array would copy the head again.
        bytes.reserveCapacity(head.count + payload.count + 24)
        bytes += head
        if isChunked { bytes += Self.chunk(payload.count) }
        bytes += payload
        if isChunked { bytes += Self.lineEnd }
        self.bytes = bytes
        self.payload = bytes.indices
        headLength = head.count
    }

    /// Joins a response's head and frames of a WebSocket, which go out in one write.
    ///
    /// - Parameters:
    ///   - head: The response's head; empty after the first frame.
    ///   - webSocketFrames: Whole frames, as ``WebSocketFrame`` makes them.
    public init(head: [UInt8] = [], webSocketFrames: [UInt8]) {
        bytes = head + webSocketFrames
        payload = head.count..<bytes.count
        headLength = head.count
    }

    /// The response's head alone.
    ///
    /// The frame must not be a WebSocket's.
    var head: Frame { Frame(head: Array(bytes[..<headLength]), payload: [], isChunked: false) }

    /// The end of the WebSocket frame, or of the head, that has begun when `offset` bytes are written.
    func endOfBegun(at offset: Int) -> Int {
        var end = payload.lowerBound
        while end < offset { end = WebSocketFrame.end(ofFrameAt: end, in: bytes) }
        return end
    }

    /// A WebSocket's frame without the bytes from `end` on.
    func prefix(upTo end: Int) -> Frame {
        let headEnd = min(payload.lowerBound, end)
        return Frame(head: Array(bytes[..<headEnd]), webSocketFrames: Array(bytes[headEnd..<end]))
    }

    private static let lineEnd = Array("\r\n".utf8)
    private static let end = Array("0\r\n\r\n".utf8)

    private static func chunk(_ size: Int) -> [UInt8] {
        Array(String(size, radix: 16).utf8) + lineEnd
    }
}
