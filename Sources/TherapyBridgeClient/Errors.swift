import AsyncHTTPClient
import NIOHTTP1

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// A request that failed.
public struct APIError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The status of the answer; 0 if no answer came.
    public let status: Int
    /// The type of the problem (RFC 9457), such as `/problems/account-inactive`.
    public let type: String
    /// Words for people, without private data.
    public let detail: String
    /// The time after which the server takes the request again, or nil.
    public let retryAfter: Duration?

    /// True if the same request can succeed later.
    public var isTemporary: Bool {
        switch status {
        case 0, 408, 423, 425, 429, 507: true
        case 501, 505: false
        default: status >= 500
        }
    }

    /// True if the account is inactive.
    var isOfInactiveAccount: Bool { status == 403 && type.hasSuffix("/account-inactive") }

    /// The status and the detail.
    public var description: String { status == 0 ? detail : "\(status): \(detail)" }

    init(status: Int, type: String = "about:blank", detail: String, retryAfter: Duration? = nil) {
        self.status = status
        self.type = type
        self.detail = detail
        self.retryAfter = retryAfter
    }

    /// Reads an answer.
    init(_ response: HTTPClientResponse, body: Data) {
        self.init(status: response.status, headers: response.headers, body: body)
    }

    /// Reads an answer.
    init(status: HTTPResponseStatus, headers: HTTPHeaders, body: Data) {
        struct Problem: Decodable {
            var type, title, detail: String?
        }
        // A proxy in front of the server may answer with HTML or with nothing.
        let problem = try? JSONDecoder().decode(Problem.self, from: body)
        let status = Int(status.code)
        self.init(
            status: status, type: problem?.type ?? "about:blank",
            detail: problem?.detail ?? problem?.title ?? "The server answered with \(status).",
            retryAfter: Self.retryAfter(headers))
    }

    static let unreachable = APIError(status: 0, detail: "The server cannot be reached.")

    /// Reads `Retry-After`.
    ///
    /// A date is compared with the server's own `Date`, never with the clock of this device.
    static func retryAfter(_ headers: HTTPHeaders) -> Duration? {
        guard let value = headers.first(name: "Retry-After") else { return nil }
        if let seconds = UInt32(value) { return .seconds(seconds) }
        guard let until = date(value), let now = headers.first(name: "Date").flatMap(date), until >= now else {
            return nil
        }
        return .seconds(until.timeIntervalSince(now))
    }

    /// A date in the form of HTTP (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
    private static func date(_ text: String) -> Date? {
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let pattern = /[A-Z][a-z]{2}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}:\d{2}:\d{2}) GMT/
        guard let match = text.wholeMatch(of: pattern)?.output, let month = months.firstIndex(of: String(match.2))
        else {
            return nil
        }
        let number = (month < 9 ? "0" : "") + String(month + 1)
        return try? Date("\(match.3)-\(number)-\(match.1)T\(match.4)Z", strategy: .iso8601)
    }
}

/// Why a watch has ended.
public enum EndReason: String, Hashable, Sendable {
    /// The session is processed.
    case complete
    /// The session failed.
    case failed
    /// The session was finished before, and the caller has its last version.
    case finished
    /// The right to see the session has ended, or the session was deleted.
    case revoked
    /// The token could not be refreshed: the sign-in has ended.
    case signedOut = "signed-out"
    /// The account is inactive.
    case accountInactive = "account-inactive"
    /// The caller may not see the session.
    case forbidden
    /// There is no such session.
    case notFound = "not-found"
    /// The server does not accept the request, which is a fault of the client or of its caller.
    case refused

    /// True for the end of a session, at which a loop ends without an error.
    var isOfSession: Bool { self == .complete || self == .failed || self == .finished }
}

/// The end of a watch for another reason than the end of its session.
public struct WatchEnded: Error, Hashable, Sendable, CustomStringConvertible {
    /// Why the watch has ended.
    public let reason: EndReason
    /// Words for a log.
    public let detail: String

    /// The reason and the detail.
    public var description: String { detail.isEmpty ? reason.rawValue : "\(reason.rawValue): \(detail)" }
}

/// The state of a watch's connection.
public enum WatchState: Hashable, Sendable {
    /// The first connection is under way.
    case connecting
    /// Events arrive.
    case live
    /// The server has a fault or is busy. What you show may be old.
    case degraded
    /// Connected again, or about to be after a planned end. The missed events follow.
    case catchingUp
    /// The connection is lost. The client tries again by itself.
    case offline
    /// The watch has ended.
    case ended(EndReason)
}
