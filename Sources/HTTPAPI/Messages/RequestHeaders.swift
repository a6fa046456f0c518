import Crypto
import Domain
import FoundationEssentials
import HTTPTypes
import Hummingbird
import TextForms

/// The value of `If-None-Match` or `If-Match` (RFC 9110, 13.1).
struct EntityTags {
    private let tags: [Substring]

    init(_ text: String) {
        tags = text.split(separator: ",").map { $0.drop { $0 == " " }.prefix { $0 != " " } }
    }

    /// True if the present tag is among them, by the weak comparison that `If-None-Match` prescribes.
    func contains(_ tag: String) -> Bool {
        tags.contains { $0 == "*" || $0 == tag || $0 == "W/" + tag }
    }

    /// True if one of them names a state; the `*` of `If-Match` stands for whatever is there.
    var namesAState: Bool { tags.contains { !$0.isEmpty && $0 != "*" } }

    /// True if the present tag is among them, by the strong comparison that `If-Match` prescribes.
    ///
    /// A `*` is no tag.
    func containsStrongly(_ tag: String) -> Bool { tags.contains { $0 == tag } }

    /// The strong tag of a representation: 128 bits of its SHA-256.
    static func strong(of bytes: some DataProtocol) -> String {
        let digits = SHA256.hash(data: bytes).prefix(16).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
        return "\"\(digits.joined())\""
    }
}

/// The part of a file that a request asks for (RFC 9110, 14.2): one range, or the whole file.
enum ByteRange: Equatable {
    case whole
    case part(Range<Int64>)
    case unsatisfiable

    /// Reads the `Range` header.
    ///
    /// "A server MAY ignore the Range header field": a malformed header, or one with several ranges, gets the whole
    /// file.
    init(_ header: String?, of size: Int64) {
        let form = /\s*bytes=(\d{0,18})-(\d{0,18})\s*/.asciiOnlyDigits().ignoresCase()
        guard let match = header?.wholeMatch(of: form)?.output,
            !(match.1.isEmpty && match.2.isEmpty)
        else {
            self = .whole
            return
        }
        guard let first = Int64(match.1) else {
            let suffix = Int64(match.2) ?? 0
            self = suffix == 0 || size == 0 ? .unsatisfiable : .part(max(0, size - suffix)..<size)
            return
        }
        let last = Int64(match.2) ?? .max
        if last < first {
            self = .whole
        } else if first >= size {
            self = .unsatisfiable
        } else {
            self = .part(first..<min(last, size - 1) + 1)
        }
    }
}

extension HTTPFields {
    /// True if a list has a token, in any case (RFC 9110, 5.6.1 and 7.6.1).
    func hasToken(_ token: String, in name: HTTPField.Name) -> Bool {
        self[values: name].flatMap { $0.split(separator: ",") }
            .contains { $0.trimmed.lowercased() == token }
    }
}

extension Request {
    /// How long the client likes to wait for an answer (RFC 7240, 4.3).
    ///
    /// "Prefer: wait=30" names whole seconds. A preference that the server does not understand is ignored (2).
    ///
    /// - Parameter longest: The longest wait that the server offers.
    /// - Returns: The wait; zero without the preference.
    func preferredWait(atMost longest: Duration) -> Duration {
        for preference in headers[values: .prefer].flatMap({ $0.split(separator: ",") }) {
            let parts = preference.prefix { $0 != ";" }.split(separator: "=", maxSplits: 1)
                .map { $0.trimmed }
            guard parts.first?.lowercased() == "wait", parts.count == 2 else { continue }
            // Too many digits for an integer are too many seconds, too.
            guard let seconds = Int32(clampingDigits: parts[1].trimmed(of: ["\""])) else { return .zero }
            return min(.seconds(seconds), longest)
        }
        return .zero
    }

    /// True if a body follows the head (RFC 9112, 6).
    var hasBody: Bool {
        let length = headers[.contentLength].flatMap { Int($0) } ?? 0
        return length > 0 || headers[.transferEncoding] != nil
    }

    /// The last event that the client has.
    ///
    /// The header wins over the query, because a native EventSource sends it on its own.
    var lastEventID: String? { headers[.lastEventID] ?? uri.queryParameters["last_event_id"].map(String.init) }
}
