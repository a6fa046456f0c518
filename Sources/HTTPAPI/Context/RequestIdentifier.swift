import Domain
import Foundation

/// Makes the identifiers of requests: random UUIDs (RFC 9562, 5.4) in lower case.
enum RequestIdentifier {
    /// A new identifier.
    ///
    /// Foundation's `UUID()` opens a file of random bytes for each one, which takes longer than all the rest.
    static func random() -> String {
        var generator = SystemRandomNumberGenerator()
        let high = generator.next() & ~0xF000 | 0x4000
        let low = generator.next() & ~(0b11 << 62) | 0b10 << 62
        let bytes = (high.bigEndian, low.bigEndian)
        return UUID(uuid: withUnsafeBytes(of: bytes) { $0.loadUnaligned(as: uuid_t.self) }).lowerCaseText
    }
}
