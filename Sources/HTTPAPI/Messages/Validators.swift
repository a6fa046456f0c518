import Domain
import FoundationEssentials
import HTTPTypes
import Hummingbird
import Store
import TextForms

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
        tag = sha256.map { "\"\($0.hexadecimal)\"" }
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
        guard let condition = condition?.trimmed else { return true }
        if condition.hasSuffix("\"") { return condition == tag }
        return HTTPDate(condition)?.second == second
    }
}
