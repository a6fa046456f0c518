/// Reads the frames that the client of a WebSocket sends (RFC 6455, 5.2), in pieces of any size.
///
/// The reader keeps no message, because the server uses none. It checks that a text is UTF-8 while it reads. It keeps a control
/// frame, of at most 125 bytes, until it is whole. A length that a client names therefore allocates nothing.
struct ClientFrameReader {
    /// What a client sent.
    enum Event: Equatable, Sendable {
        /// A ping, with the payload that the pong repeats.
        case ping([UInt8])
        /// A pong.
        case pong
        /// A message, which the server ignores.
        case message(bytes: Int)
        /// A Close frame, with a code or without one.
        ///
        /// The reader reads nothing after it.
        case close(UInt16?)
        /// A frame that breaks the protocol, and the Close frame for the client.
        ///
        /// The reader reads nothing after it.
        case violation(WebSocketClose)
    }

    /// The maximum length of a message, in bytes.
    static let messageLimit = 64 * 1024

    /// What the next byte is.
    private enum State {
        /// FIN, the reserved bits and the opcode. → length, over
        case opcode
        /// MASK and the length, or the width of the length. → length16, length64, mask, over
        case length
        /// One of two bytes of the length. → mask, over
        case length16
        /// One of eight bytes of the length. → mask, over
        case length64
        /// One of the four bytes of the masking key. → payload
        case mask
        /// A byte of the payload. → opcode, over
        case payload
        /// The reader reads nothing any more.
        case over
    }

    private var state = State.opcode
    /// The first byte of the frame.
    private var first: UInt8 = 0
    /// How many bytes of the length or of the masking key are still to come.
    private var missing: UInt8 = 0
    /// Whether a message has begun that this frame may continue.
    private var isFragmented = false
    /// Checks the message, if it is a text.
    private var text: UTF8Check?
    /// The bytes of the message, those of the present frame included.
    private var messageSize: UInt32 = 0
    /// The masking key.
    ///
    /// After each byte of the payload, it begins with the octet for the next one.
    private var mask: UInt32 = 0
    /// The length so far; after it, how many bytes of the payload are still to come.
    private var remaining: UInt64 = 0
    /// The payload of a control frame so far, without its mask.
    private var control: [UInt8] = []

    private var opcode: UInt8 { first & 0x0F }
    private var isFinal: Bool { first & 0x80 != 0 }
    /// Whether this is a control frame (RFC 6455, 5.5): "the most significant bit of the opcode is 1".
    private var isControl: Bool { first & 0x08 != 0 }

    /// Reads bytes and returns what they complete.
    mutating func read(_ bytes: Span<UInt8>) -> [Event] {
        var events: [Event] = []
        var index = 0
        while index < bytes.count, state != .over {
            if state == .payload {
                let count = Int(min(remaining, UInt64(bytes.count - index)))
                if !takePayload(bytes.extracting(index..<index + count)) {
                    state = .over
                    events.append(.violation(.invalidText))
                }
                remaining -= UInt64(count)
                index += count
            } else {
                if let violation = take(bytes[index]) {
                    state = .over
                    events.append(.violation(violation))
                }
                index += 1
            }
            if state == .payload, remaining == 0, let event = finish() { events.append(event) }
        }
        return events
    }

    /// Reads one byte of a frame's header.
    private mutating func take(_ byte: UInt8) -> WebSocketClose? {
        switch state {
        case .opcode: return begin(byte)
        case .length: return measure(byte)
        case .length16, .length64:
            // The length has 63 bits: "the most significant bit MUST be 0".
            if state == .length64, missing == 8, byte & 0x80 != 0 { return .protocolError }
            remaining = remaining << 8 | UInt64(byte)
            missing -= 1
            guard missing == 0 else { return nil }
            // "The minimal number of bytes MUST be used to encode the length."
            if remaining <= (state == .length16 ? 125 : 0xFFFF) { return .protocolError }
            return admit()
        case .mask:
            mask = mask << 8 | UInt32(byte)
            missing -= 1
            if missing == 0 { state = .payload }
            return nil
        case .payload, .over: return nil
        }
    }

    private mutating func begin(_ byte: UInt8) -> WebSocketClose? {
        first = byte
        // Reserved bits "MUST be 0 unless an extension is negotiated", and the server negotiates none.
        guard byte & 0x70 == 0 else { return .protocolError }
        switch opcode {
        case 0x0: guard isFragmented else { return .protocolError }
        case 0x1, 0x2:
            guard !isFragmented else { return .protocolError }
            text = opcode == 0x1 ? UTF8Check() : nil
        // Control frames "MUST NOT be fragmented".
        case 0x8, 0x9, 0xA: guard isFinal else { return .protocolError }
        default: return .protocolError
        }
        state = .length
        return nil
    }

    private mutating func measure(_ byte: UInt8) -> WebSocketClose? {
        // RFC 6455, 5.1: "The server MUST close the connection upon receiving a frame that is not masked."
        guard byte & 0x80 != 0 else { return .protocolError }
        let length = byte & 0x7F
        // Control frames "MUST have a payload length of 125 bytes or less".
        if isControl, length > 125 { return .protocolError }
        remaining = 0
        switch length {
        case 126: (state, missing) = (.length16, 2)
        case 127: (state, missing) = (.length64, 8)
        default:
            remaining = UInt64(length)
            return admit()
        }
        return nil
    }

    /// Checks whether a message may have this length.
    private mutating func admit() -> WebSocketClose? {
        if !isControl {
            guard remaining + UInt64(messageSize) <= UInt64(Self.messageLimit) else { return .tooLarge }
            messageSize += UInt32(remaining)
        }
        (state, missing, mask) = (.mask, 4, 0)
        return nil
    }

    /// Keeps a part of a control frame, or checks a part of a text.
    ///
    /// RFC 6455, 5.3: octet i is masked with octet i modulo 4 of the key.
    ///
    /// - Returns: False if the text is not UTF-8.
    private mutating func takePayload(_ bytes: Span<UInt8>) -> Bool {
        guard isControl || text != nil else { return true }
        for index in bytes.indices {
            let byte = bytes[index] ^ UInt8(mask >> 24)
            mask = mask << 8 | mask >> 24
            if isControl {
                control.append(byte)
            } else if text?.take(byte) == false {
                return false
            }
        }
        return true
    }

    /// Ends the frame.
    private mutating func finish() -> Event? {
        state = .opcode
        guard isControl else {
            isFragmented = !isFinal
            guard isFinal else { return nil }
            // RFC 6455, 8.1: a text that is not UTF-8 fails the connection. It may not end in the middle of a character either.
            if text?.isComplete == false {
                state = .over
                return .violation(.invalidText)
            }
            defer { messageSize = 0 }
            return .message(bytes: Int(messageSize))
        }
        defer { control = [] }
        switch opcode {
        case 0x9: return .ping(control)
        case 0xA: return .pong
        default:
            state = .over
            return close()
        }
    }

    /// Reads the payload of a Close frame (RFC 6455, 5.5.1 and 7.4): nothing, or a code and a reason in UTF-8.
    private func close() -> Event {
        if control.isEmpty { return .close(nil) }
        guard control.count >= 2 else { return .violation(.protocolError) }
        let code = UInt16(control[0]) << 8 | UInt16(control[1])
        switch code {
        // The codes that may be sent, of the RFC and of IANA's registry; then those of libraries and applications.
        case 1000...1003, 1007...1014, 3000...4999: break
        default: return .violation(.protocolError)
        }
        guard String(validating: control[2...], as: UTF8.self) != nil else { return .violation(.invalidText) }
        return .close(code)
    }
}

/// Checks that bytes are UTF-8, one after the other (RFC 3629, 4).
struct UTF8Check {
    /// How many bytes of the character are still to come.
    private var missing: UInt8 = 0
    /// What the next of these bytes may be.
    ///
    /// The first one excludes longer forms than needed, surrogates, and what is beyond U+10FFFF.
    private var allowed: ClosedRange<UInt8> = 0x80...0xBF

    /// Whether the bytes end with a whole character.
    var isComplete: Bool { missing == 0 }

    /// Takes the next byte.
    ///
    /// - Returns: False if no text begins with the bytes so far.
    mutating func take(_ byte: UInt8) -> Bool {
        if missing > 0 {
            guard allowed.contains(byte) else { return false }
            missing -= 1
            allowed = 0x80...0xBF
            return true
        }
        switch byte {
        case 0x00...0x7F: break
        case 0xC2...0xDF: missing = 1
        case 0xE0: (missing, allowed) = (2, 0xA0...0xBF)
        case 0xED: (missing, allowed) = (2, 0x80...0x9F)
        case 0xE1...0xEF: missing = 2
        case 0xF0: (missing, allowed) = (3, 0x90...0xBF)
        case 0xF4: (missing, allowed) = (3, 0x80...0x8F)
        case 0xF1...0xF3: missing = 3
        default: return false
        }
        return true
    }
}
