/// A language, as a tag by BCP 47 (RFC 5646): `de`, `de-AT`, `sr-Latn-RS`.
///
/// The tag is well-formed: "conforms to the ABNF" (RFC 5646, 2.2.9). Whether its subtags are registered is not checked: the registry
/// grows, and a stage decides what it can use. The letters have the case of RFC 5646, 2.1.1. Two tags that differ only in the case of
/// letters are therefore equal.
public struct LanguageTag: Hashable, Sendable, CustomStringConvertible {
    /// The maximum length in characters.
    ///
    /// RFC 5646, 4.4.1, wants room for 35 characters at least.
    public static let maximumLength = 100

    /// The tag, such as `de-AT`.
    public let description: String

    /// Reads a tag in any case; nil for a text that is not a well-formed tag, or is too long.
    public init?(_ text: String) {
        guard text.utf8.count <= Self.maximumLength, text.utf8.allSatisfy({ $0 < 0x80 }) else { return nil }
        let subtags = text.split(separator: "-", omittingEmptySubsequences: false).map { Subtag(text: $0) }
        var grammar = Grammar(rest: subtags[...])
        guard Self.irregular.contains(text.lowercased()) || grammar.readTag() else { return nil }
        description = Self.canonical(subtags)
    }

    /// The tags that the grammar does not derive, and that RFC 5646 lists as well-formed in 2.1.
    private static let irregular: Set<String> = [
        "en-gb-oed", "i-ami", "i-bnn", "i-default", "i-enochian", "i-hak", "i-klingon", "i-lux", "i-mingo", "i-navajo",
        "i-pwn", "i-tao", "i-tay", "i-tsu", "sgn-be-fr", "sgn-be-nl", "sgn-ch-de",
    ]

    /// Writes the subtags in the case of RFC 5646, 2.1.1.
    ///
    /// "All subtags, including extension and private use subtags, use lowercase letters with two exceptions: two-letter and
    /// four-letter subtags that neither appear at the start of the tag nor occur after singletons. Such two-letter subtags are all
    /// uppercase […] and four-letter subtags are titlecase."
    private static func canonical(_ subtags: [Subtag]) -> String {
        var isAfterSingleton = false
        return subtags.enumerated().map { index, subtag -> String in
            let text = subtag.text.lowercased()
            defer { isAfterSingleton = isAfterSingleton || subtag.count == 1 }
            guard index > 0, !isAfterSingleton else { return text }
            return switch subtag.count {
            case 2: text.uppercased()
            case 4: text.prefix(1).uppercased() + text.dropFirst()
            default: text
            }
        }.joined(separator: "-")
    }
}

extension LanguageTag: Codable {
    /// Decodes a tag.
    ///
    /// - Throws: `DecodingError` if the text is not a well-formed tag.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let tag = LanguageTag(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a language tag")
        }
        self = tag
    }

    /// Encodes the tag.
    ///
    /// - Throws: The error of the encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// What stands between two hyphens of a tag.
private struct Subtag {
    let text: Substring

    var count: Int { text.utf8.count }
    var hasLetters: Bool { text.utf8.allSatisfy(Self.isLetter) }
    var hasDigits: Bool { text.utf8.allSatisfy(Self.isDigit) }
    var isAlphanumeric: Bool { text.utf8.allSatisfy { Self.isLetter($0) || Self.isDigit($0) } }
    var beginsWithDigit: Bool { text.utf8.first.map(Self.isDigit) ?? false }
    var isPrivateUse: Bool { text == "x" || text == "X" }

    private static func isLetter(_ byte: UInt8) -> Bool { (0x61...0x7A).contains(byte | 0x20) }
    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
}

/// The grammar of RFC 5646, 2.1.
///
/// Each method reads what it can from the front.
private struct Grammar {
    var rest: ArraySlice<Subtag>

    /// Reads `langtag / privateuse`.
    mutating func readTag() -> Bool {
        if readPrivateUse() { return rest.isEmpty }
        guard readLanguage() else { return false }
        _ = read { $0.count == 4 && $0.hasLetters }
        _ = read { $0.count == 2 && $0.hasLetters || $0.count == 3 && $0.hasDigits }
        while read({ $0.isAlphanumeric && ((5...8).contains($0.count) || $0.count == 4 && $0.beginsWithDigit) }) {}
        while readExtension() {}
        _ = readPrivateUse()
        return rest.isEmpty
    }

    /// Reads `2*3ALPHA ["-" extlang] / 4ALPHA / 5*8ALPHA`.
    ///
    /// An `extlang` has up to three subtags of three letters.
    private mutating func readLanguage() -> Bool {
        guard let first = rest.first, (2...8).contains(first.count), first.hasLetters else { return false }
        rest.removeFirst()
        if first.count <= 3 {
            for _ in 0..<3 where !read({ $0.count == 3 && $0.hasLetters }) { break }
        }
        return true
    }

    /// Reads `singleton 1*("-" (2*8alphanum))`.
    private mutating func readExtension() -> Bool {
        let start = rest
        guard read({ $0.count == 1 && $0.isAlphanumeric && !$0.isPrivateUse }) else { return false }
        guard read({ (2...8).contains($0.count) && $0.isAlphanumeric }) else {
            rest = start
            return false
        }
        while read({ (2...8).contains($0.count) && $0.isAlphanumeric }) {}
        return true
    }

    /// Reads `"x" 1*("-" (1*8alphanum))`.
    private mutating func readPrivateUse() -> Bool {
        let start = rest
        guard read({ $0.isPrivateUse }), read({ (1...8).contains($0.count) && $0.isAlphanumeric }) else {
            rest = start
            return false
        }
        while read({ (1...8).contains($0.count) && $0.isAlphanumeric }) {}
        return true
    }

    /// Takes the next subtag if it is as the condition says.
    private mutating func read(_ condition: (Subtag) -> Bool) -> Bool {
        guard let first = rest.first, condition(first) else { return false }
        rest.removeFirst()
        return true
    }
}
