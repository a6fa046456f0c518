import DurationUnits
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore
import NIOHTTPTypes

/// An error in the form for a client (RFC 9457): what happened and what to do, without internal details.
struct Problem: Error, Sendable {
    /// The kinds of problem.
    ///
    /// Each has a stable URI reference, listed in `docs/http-api.md`.
    enum Kind: String, Sendable, CaseIterable {
        case malformed = "malformed-request"
        case unauthorized
        case inactive = "account-inactive"
        case forbidden
        case originForbidden = "origin-forbidden"
        case notFound = "not-found"
        case methodNotAllowed = "method-not-allowed"
        case notAcceptable = "not-acceptable"
        case tooSlow = "request-timeout"
        case conflict
        case gone
        case preconditionFailed = "precondition-failed"
        case preconditionRequired = "precondition-required"
        case tooLarge = "too-large"
        case unsupportedMedia = "unsupported-media"
        case noSuchRange = "range-not-satisfiable"
        case invalid = "invalid-value"
        case locked = "upload-locked"
        case upgradeRequired = "upgrade-required"
        case tooManyRequests = "too-many-requests"
        case checksumMismatch = "checksum-mismatch"
        case internalError = "internal-error"
        case storageFull = "storage-full"
        case storageUnavailable = "storage-unavailable"
        case unavailable

        var status: HTTPResponse.Status {
            switch self {
            case .malformed: .badRequest
            case .unauthorized: .unauthorized
            case .inactive, .forbidden, .originForbidden: .forbidden
            case .notFound: .notFound
            case .methodNotAllowed: .methodNotAllowed
            case .notAcceptable: .notAcceptable
            case .tooSlow: .requestTimeout
            case .conflict: .conflict
            case .gone: .gone
            case .preconditionFailed: .preconditionFailed
            case .preconditionRequired: .preconditionRequired
            case .tooLarge: .contentTooLarge
            case .unsupportedMedia: .unsupportedMediaType
            case .noSuchRange: .rangeNotSatisfiable
            case .invalid: .unprocessableContent
            case .locked: .init(code: 423, reasonPhrase: "Locked")
            case .upgradeRequired: .upgradeRequired
            case .tooManyRequests: .tooManyRequests
            case .checksumMismatch: .init(code: 460, reasonPhrase: "Checksum Mismatch")
            case .internalError: .internalServerError
            case .storageFull: .init(code: 507, reasonPhrase: "Insufficient Storage")
            case .unavailable, .storageUnavailable: .serviceUnavailable
            }
        }

        /// Whether the server or its surroundings are at fault, and not the request.
        var isOfServer: Bool { status.kind == .serverError }

        var title: String {
            switch self {
            case .malformed: "The request cannot be read"
            case .unauthorized: "Sign in first"
            case .inactive: "The account is inactive"
            case .forbidden: "Not allowed"
            case .originForbidden: "Not from this origin"
            case .notFound: "Not found"
            case .methodNotAllowed: "Wrong method"
            case .notAcceptable: "Cannot answer in that form"
            case .tooSlow: "The request took too long"
            case .conflict: "Not in the present state"
            case .gone: "No longer there"
            case .preconditionFailed: "A condition is not met"
            case .preconditionRequired: "A condition is needed"
            case .tooLarge: "Too large"
            case .unsupportedMedia: "Not an accepted recording"
            case .noSuchRange: "No such range"
            case .invalid: "A value is not valid"
            case .locked: "In use by another request"
            case .upgradeRequired: "For WebSockets alone"
            case .tooManyRequests: "Too many requests"
            case .checksumMismatch: "The checksum does not match"
            case .internalError: "Something went wrong here"
            case .storageFull: "No room for the recording"
            case .storageUnavailable: "The folder of recordings cannot be used"
            case .unavailable: "Not available right now"
            }
        }
    }

    /// A field, parameter or member that the server cannot use.
    struct FieldError: Encodable, Sendable, Equatable {
        /// What is wrong with it.
        ///
        /// Programs read the code, and people read `detail`.
        enum Code: String, Encodable, Sendable, CaseIterable {
            case missing
            /// Null where a value is needed.
            case null
            case wrongType = "wrong_type"
            /// The value does not have the form or the range that it needs.
            case invalid
            /// The object or the list of parameters has no such name.
            case unknown
            case repeated
            /// A field after the file of an upload.
            case misplaced
            case tooLong = "too_long"
        }

        var field: String
        var code: Code
    }

    var kind: Kind
    var detail: String
    /// What a 422 is about; empty if no single field is at fault.
    var errors: [FieldError] = []
    /// Headers of the status: `Allow`, `Retry-After`, `WWW-Authenticate`.
    var headers: HTTPFields = [:]
    /// True if the server does not read the rest of the request's body.
    ///
    /// The connection then has to close.
    var closesConnection = false

    init(_ kind: Kind, _ detail: String) {
        self.kind = kind
        self.detail = detail
        switch kind {
        // RFC 9110, 15.5.2: a 401 "MUST send a WWW-Authenticate header field".
        case .unauthorized: headers[.wwwAuthenticate] = "Bearer"
        case .unavailable: headers[.retryAfter] = "2"
        // An operator has to act first.
        case .storageUnavailable: headers[.retryAfter] = "10"
        default: break
        }
    }

    /// The request has no valid credential.
    static let unauthorized = Problem(.unauthorized, "Sign in, or send a valid access token.")
    /// The account has been deactivated.
    static let inactive = Problem(.inactive, "This account is inactive. Ask your administrator.")
    /// A request with a cookie came from a page that may not act with cookies.
    static let originForbidden = Problem(
        .originForbidden, "A request with a cookie has to come from one of this server's own pages.")
    /// The caller has no right to see this session, or to do this with it.
    static let forbidden = Problem(.forbidden, "You may not do this with this session.")
    /// There is no such session.
    static let noSession = Problem(.notFound, "There is no such session.")
    /// There is no such account.
    static let noUser = Problem(.notFound, "There is no such user.")
    /// A newer release has written a value that this release does not know.
    static let unreadable = Problem(
        .unavailable, "A newer release of the server has written this. Try again in a moment.")
    /// A fault of the server.
    static let unexpected = Problem(
        .internalError, "Something went wrong here. The log has more under the id of this request.")

    /// A value that the server cannot use.
    ///
    /// The detail begins with the name of the parameter or field.
    static func invalid(_ name: String, _ reason: String, _ code: FieldError.Code = .invalid) -> Problem {
        var problem = Problem(.invalid, "\(name): \(reason)")
        problem.errors = [FieldError(field: name, code: code)]
        return problem
    }

    /// Too many requests of a kind, with the time until the next one may come.
    static func limited(_ detail: String, wait: Duration) -> Problem {
        Problem(.tooManyRequests, detail).retry(after: wait)
    }

    /// The same problem, which tells the client when to try again: in whole seconds, one at least.
    func retry(after wait: Duration) -> Problem {
        var problem = self
        problem.headers[.retryAfter] = "\(max(wait.whole(.seconds, .up), 1))"
        return problem
    }

    /// The same problem, for a request whose body the server does not read.
    func closing() -> Problem {
        var problem = self
        problem.closesConnection = true
        return problem
    }
}

extension Problem {
    /// The media type of every problem.
    static let mediaType = "application/problem+json"

    private struct Body: Encodable {
        var type: String
        var title: String
        var status: Int
        var detail: String
        var requestID: String
        /// Nil for every status but 422.
        var errors: [FieldError]?

        enum CodingKeys: String, CodingKey {
            case type, title, status, detail, errors
            case requestID = "request_id"
        }
    }

    /// The URI reference of this kind of problem, which never changes.
    var type: String { "/problems/\(kind.rawValue)" }

    func response(requestID: String) -> Response {
        var headers = headers
        headers[.contentType] = Self.mediaType
        headers[.cacheControl] = "no-store"
        if closesConnection { headers[.connection] = "close" }
        return Response(
            status: kind.status, headers: headers, body: ResponseBody(byteBuffer: body(requestID: requestID)))
    }

    /// The problem as JSON.
    func body(requestID: String) -> ByteBuffer {
        JSON.encode(
            Body(
                type: type, title: kind.title, status: kind.status.code, detail: detail, requestID: requestID,
                errors: kind == .invalid ? errors : nil))
    }
}

extension ChannelHandlerContext {
    /// Answers in place of the router.
    ///
    /// The caller then has to close the connection.
    func writeEarlyAnswer(_ problem: Problem) {
        let id = UUID().uuidString.lowercased()
        let body = problem.body(requestID: id)
        var fields = SecurityHeaders.always
        for field in problem.headers { fields[field.name] = field.value }
        fields[.contentType] = Problem.mediaType
        fields[.contentLength] = "\(body.readableBytes)"
        fields[.cacheControl] = "no-store"
        fields[.connection] = "close"
        fields[.requestID] = id
        let head = HTTPResponse(status: problem.kind.status, headerFields: fields)
        write(NIOAny(HTTPResponsePart.head(head)), promise: nil)
        write(NIOAny(HTTPResponsePart.body(body)), promise: nil)
        writeAndFlush(NIOAny(HTTPResponsePart.end(nil)), promise: nil)
    }
}
