/// Makes the identifiers of requests: random UUIDs (RFC 9562, 5.4) in lower case.
enum RequestIdentifier {
    private static let digits = Array("0123456789abcdef".utf8)

    /// A new identifier.
    static func random() -> String {
        var generator = SystemRandomNumberGenerator()
        // The four bits of the version, and the two bits of the variant.
        let high = generator.next() & 0xFFFF_FFFF_FFFF_0FFF | 0x4000
        let low = generator.next() & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
        return String(unsafeUninitializedCapacity: 36) { text in
            var position = 0
            for word in [high, low] {
                for shift in stride(from: 60, through: 0, by: -4) {
                    if position == 8 || position == 13 || position == 18 || position == 23 {
                        text[position] = UInt8(ascii: "-")
                        position += 1
                    }
                    text[position] = digits[Int(word >> UInt64(shift) & 0xF)]
                    position += 1
                }
            }
            return position
        }
    }
}
