package import FoundationEssentials

/// Base64url without padding (RFC 4648, 5).
package enum Base64URL {
    /// The text of these bytes.
    package static func encode(_ data: Data) -> String {
        data.base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }

    /// Decodes text in its only canonical form; nil for any other text.
    ///
    /// RFC 4648, 3.5: "decoders MAY chose to reject an encoding if the pad bits have not been set to zero". A decoder that
    /// ignores these bits accepts several texts for the same bytes.
    ///
    /// - Parameter text: The text in ASCII.
    /// - Returns: The bytes.
    package static func decode(_ text: some Collection<UInt8>) -> [UInt8]? {
        let rest = text.count % 4
        // One character has fewer bits than a byte.
        guard rest != 1 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count / 4 * 3 + 2)
        var bits: UInt32 = 0
        var bitCount: UInt32 = 0
        for character in text {
            guard let value = value(of: character) else { return nil }
            bits = bits << 6 | value
            bitCount += 6
            guard bitCount >= 8 else { continue }
            bitCount -= 8
            bytes.append(UInt8(truncatingIfNeeded: bits >> bitCount))
        }
        return bits & (1 << bitCount - 1) == 0 ? bytes : nil
    }

    private static func value(of character: UInt8) -> UInt32? {
        switch character {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(character - UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(character - UInt8(ascii: "a")) + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(character - UInt8(ascii: "0")) + 52
        case UInt8(ascii: "-"): 62
        case UInt8(ascii: "_"): 63
        default: nil
        }
    }
}
