import Domain
import Foundation
import HTTPTypes
import Hummingbird
import Store

/// The validators of a recording (RFC 9110, 8.8), and the conditions of requests about them.
///
/// The bytes of a recording never change: both validators are strong.
struct Validators {
    /// The `ETag`: the SHA-256 of the recording; nil if it is not known.
    let tag: String?
    /// The `Last-Modified`, to a second.
    let lastModified: String

    private let second: Int64

    init(of recording: RecordingReference) {
        self.init(sha256: recording.sha256, modified: recording.createdAt)
    }

    init(sha256: [UInt8]?, modified: Timestamp) {
        tag = sha256.map { bytes in "\"\(bytes.map { Self.hexadecimal($0) }.joined())\"" }
        let time = Date(timeIntervalSince1970: modified.date.timeIntervalSince1970.rounded(.down))
        second = Int64(time.timeIntervalSince1970)
        lastModified = HTTPDate.text(time)
    }

    /// True if the client's copy is current: `If-None-Match`, or without it `If-Modified-Since`.
    func areCurrent(in request: Request) -> Bool {
        guard request.method == .get || request.method == .head else { return false }
        if let tags = request.headers[.ifNoneMatch] { return tag.map { EntityTags(tags).contains($0) } ?? false }
        guard let since = request.headers[.ifModifiedSince].flatMap(HTTPDate.init) else { return false }
        return second <= since.second
    }

    /// True if a range may be served: there is no condition, or its validator is that of the recording.
    ///
    /// RFC 9110, 13.1.5: a tag is compared strongly, and a date has to be the same one.
    func match(ifRange condition: String?) -> Bool {
        guard let condition = condition?.trimmingCharacters(in: .whitespaces) else { return true }
        if condition.hasSuffix("\"") { return condition == tag }
        return HTTPDate(condition)?.second == second
    }

    private static func hexadecimal(_ byte: UInt8) -> String {
        (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }
}

/// A date in the form of HTTP (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
struct HTTPDate {
    /// Seconds since 1970-01-01T00:00:00Z.
    let second: Int64

    /// Reads a date; nil for any other text, and for the two obsolete forms, which no client sends any more.
    init?(_ text: String) {
        guard let date = Self.formatter.date(from: text) else { return nil }
        second = Int64(date.timeIntervalSince1970)
    }

    static func text(_ date: Date) -> String { formatter.string(from: date) }

    private static let formatter: DateFormatter = {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(secondsFromGMT: 0)
        formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        formatter.isLenient = false
        return formatter
    }()
}
