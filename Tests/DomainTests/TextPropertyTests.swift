import Domain
import Foundation
import PropertySupport
import Testing

/// Parsers of text from strangers.
@Suite struct TextPropertyTests {
    @Test("Text is an id exactly if it is a UUID in the form of RFC 9562")
    func identifiers() {
        let good = Array("550e8400-e29b-41d4-a716-446655440000".utf8)
        holds(forCases: 100) { random in
            let text = String(decoding: random.mutation(of: good, changes: 0...2), as: UTF8.self)
            let isUUID =
                text.utf8.count == 36
                && text.utf8.enumerated().allSatisfy { index, byte in
                    [8, 13, 18, 23].contains(index)
                        ? byte == UInt8(ascii: "-")
                        : Character(Unicode.Scalar(byte)).isHexDigit && byte < 0x80
                }
            let id = SessionID(text)
            guard (id != nil) == isUUID, id == nil || id?.description == text.lowercased() else {
                return "\(text.debugDescription) is \(id as Any)"
            }
            return nil
        }
    }

    @Test("A time is read as it is written, and text that is read as a time is written as the same time")
    func times() {
        let good = Array("2026-11-22T09:30:00.123456+02:00".utf8)
        holds(forCases: 100) { random in
            let text = String(decoding: random.mutation(of: good, changes: 0...3), as: UTF8.self)
            if let time = Timestamp(rfc3339: text), Timestamp(rfc3339: time.description) != time {
                return "\(text.debugDescription) is \(time)"
            }
            let microseconds = Int64.random(in: -62_135_596_800_000_000..<253_402_300_800_000_000, using: &random)
            let time = Timestamp(microsecondsSinceEpoch: microseconds)
            guard Timestamp(rfc3339: time.description) == time else { return "\(microseconds) is written \(time)" }
            // Foundation's own conversion, to the second.
            let seconds = Timestamp(microsecondsSinceEpoch: microseconds / 1_000_000 * 1_000_000)
            guard seconds.date.timeIntervalSince1970 == Double(microseconds / 1_000_000) else { return "\(seconds)" }
            return nil
        }
    }

    @Test("A normalized address is read as itself")
    func addresses() {
        let words = [
            "a", "@", ".", "example.org", " ", "\n", "\0", "é", "\u{301}", "İ", "ß", "😀", "\u{A0}", "\u{202E}",
        ]
        holds(forCases: 100) { random in
            let text = random.text(of: words, count: 0...8)
            guard let address = EmailAddress(text) else { return nil }
            let isWhole = address.description.unicodeScalars.allSatisfy { $0.value >= 0x20 }
            return isWhole && EmailAddress(address.description) == address
                ? nil : "\(text.debugDescription) is \(address.description.debugDescription)"
        }
    }
}
