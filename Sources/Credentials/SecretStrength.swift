/// Finds keys that are long enough, but that an attacker guesses.
enum SecretStrength {
    /// The least number of different bytes in a key.
    ///
    /// A random key has more: for 32 hexadecimal digits, the chance of fewer is below 10^-12.
    private static let leastDistinctBytes = 6

    /// Words of examples and defaults, without anything but letters and digits.
    ///
    /// No random key of a usual length holds one of them by chance.
    private static let wellKnown = [
        "changeme", "changethis", "pleasechange", "replaceme", "replacethis", "yoursecret", "yourjwtsecret",
        "yoursuper", "your256bit", "mysecret", "supersecret", "topsecret", "verysecret", "notsosecret", "secretkey",
        "jwtsecret",
        "password", "placeholder", "example", "insecure", "default", "therapybridge", "deadbeef", "qwertyuiop",
        "0123456789", "1234567890", "abcdefgh",
    ]

    /// True if a key repeats itself, has few different bytes, or holds a well-known example.
    static func isTrivial(_ secret: String) -> Bool {
        let bytes = Array(secret.utf8)
        if Set(bytes).count < leastDistinctBytes || isRepeated(bytes) { return true }
        let plain = String(decoding: secret.lowercased().utf8.filter(isLetterOrDigit), as: UTF8.self)
        return wellKnown.contains { plain.contains($0) }
    }

    /// True if the bytes are a short text, over and over.
    private static func isRepeated(_ bytes: [UInt8]) -> Bool {
        (1...16).contains { period in
            bytes.count >= 2 * period && zip(bytes, bytes.dropFirst(period)).allSatisfy { $0 == $1 }
        }
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}
