public import Foundation
import Synchronization

/// Looks for private data in texts that must not have any: log lines, metrics, refusals.
///
/// There are two kinds. Fixtures plant passwords, names, file names, messages and transcripts, and the watch looks for
/// these texts. It also looks for data with a typical form: e-mail addresses, access tokens, hashes of passwords, and
/// words as random as a refresh token, a ticket or a key.
///
/// The servers of tests log at the lowest level. Their logs are inspected when they have ended. Therefore a canary may
/// be planted after it was logged.
public final class CanaryWatch: Sendable {
    /// The canaries of the fixtures of this process.
    public static let shared = CanaryWatch()

    /// The minimum length in bytes.
    ///
    /// Shorter texts would be found everywhere.
    private static let shortest = 8

    /// The canaries by their first eight bytes, so that each text is read once, however many there are.
    private let planted = Mutex<[UInt64: Set<[UInt8]>]>([:])

    /// Makes a watch without canaries.
    public init() {}

    /// Adds a text that must not be found.
    ///
    /// A text of less than eight bytes is ignored.
    ///
    /// - Parameter text: The text.
    public func plant(_ text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count >= Self.shortest else { return }
        let key = bytes[..<Self.shortest].reduce(0) { $0 << 8 | UInt64($1) }
        planted.withLock { _ = $0[key, default: []].insert(bytes) }
    }

    /// The members of JSON that have private data, in requests and responses.
    private static let privateMembers: Set<String> = [
        "password", "email", "full_name", "text", "access_token", "refresh_token", "ticket",
    ]

    /// Adds the private data of a request or a response.
    ///
    /// In a request, the texts about progress are private too. In a response they may be the server's own words, which
    /// a refusal may repeat.
    ///
    /// - Parameters:
    ///   - json: The body.
    ///   - isRequest: Whether it is a request's.
    public func plant(json: Data, isRequest: Bool) {
        guard json.count < 65_536, let value = try? JSONSerialization.jsonObject(with: json) else { return }
        plant(value, members: isRequest ? Self.privateMembers.union(["message", "error"]) : Self.privateMembers)
    }

    private func plant(_ value: Any, members: Set<String>) {
        if let list = value as? [Any] { return list.forEach { plant($0, members: members) } }
        guard let object = value as? [String: Any] else { return }
        for (name, member) in object {
            if members.contains(name), let text = member as? String {
                plant(text)
            } else {
                plant(member, members: members)
            }
        }
    }

    /// Looks for canaries.
    ///
    /// - Parameters:
    ///   - text: What was logged or answered.
    ///   - place: What the text is, for the error.
    ///   - looks: Whether to look for data with a typical form too.
    /// - Throws: ``CanaryFound`` with the first line that has one.
    public func inspect(_ text: String, in place: String, looks: Bool = true) throws(CanaryFound) {
        let planted = planted.withLock { $0 }
        for line in text.utf8.split(separator: UInt8(ascii: "\n")) {
            let bytes = Array(line)
            guard let reason = Self.planted(in: bytes, planted) ?? (looks ? Self.look(of: bytes) : nil) else {
                continue
            }
            throw CanaryFound(place: place, reason: reason, line: String(decoding: bytes, as: UTF8.self))
        }
    }

    private static func planted(in line: [UInt8], _ planted: [UInt64: Set<[UInt8]>]) -> String? {
        var window: UInt64 = 0
        for (index, byte) in line.enumerated() {
            window = window << 8 | UInt64(byte)
            guard index >= shortest - 1, let candidates = planted[window] else { continue }
            let rest = line[(index - shortest + 1)...]
            for candidate in candidates where rest.starts(with: candidate) {
                return "a planted text: \(String(decoding: candidate, as: UTF8.self))"
            }
        }
        return nil
    }

    /// The first word of a line that looks private; nil if there is none.
    private static func look(of line: [UInt8]) -> String? {
        var start = 0
        for index in 0...line.count {
            if index < line.count, isTokenByte(line[index]) { continue }
            let word = line[start..<index]
            start = index + 1
            // The beginning of a JWT is `{"` in base64url (RFC 7515, section 3.1).
            if word.count > 20, word.starts(with: "eyJ".utf8) { return "a token: eyJ…" }
            if word.count >= 40, isMixed(word) { return "something random" }
            guard index < line.count else { break }
            let next = index + 1 < line.count ? line[index + 1] : 0
            if line[index] == UInt8(ascii: "@"), !word.isEmpty, isTokenByte(next) { return "an address" }
            if line[index...].starts(with: "$scrypt$".utf8) { return "the hash of a password" }
        }
        return nil
    }

    /// The bytes of base64url (RFC 4648, section 5).
    private static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    /// Whether a word has upper-case and lower-case letters and digits.
    ///
    /// Ids have not, and hardly any long name has.
    private static func isMixed(_ word: ArraySlice<UInt8>) -> Bool {
        var (upper, lower, digits) = (0, 0, 0)
        for byte in word {
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): upper += 1
            case UInt8(ascii: "a")...UInt8(ascii: "z"): lower += 1
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digits += 1
            default: break
            }
        }
        return upper > 0 && lower > 0 && digits > 0
    }
}

/// A text has private data that it must not have.
public struct CanaryFound: Error, CustomStringConvertible {
    /// The text.
    public let place: String
    /// Why the data is private.
    public let reason: String
    /// The line.
    public let line: String

    /// The text, the reason, and the beginning of the line.
    public var description: String { "\(place) holds \(reason): \(line.prefix(2000))" }
}
