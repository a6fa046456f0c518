import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// An error as a client is told it (RFC 9457): what happened and what to do, and nothing from inside.
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
        case tooLarge = "too-large"
        case unsupportedMedia = "unsupported-media"
        case noSuchRange = "range-not-satisfiable"
        case invalid = "invalid-value"
        case upgradeRequired = "upgrade-required"
        case tooManyRequests = "too-many-requests"
        case internalError = "internal-error"
        case storageFull = "storage-full"
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
            case .tooLarge: .contentTooLarge
            case .unsupportedMedia: .unsupportedMediaType
            case .noSuchRange: .rangeNotSatisfiable
            case .invalid: .unprocessableContent
            case .upgradeRequired: .upgradeRequired
            case .tooManyRequests: .tooManyRequests
            case .internalError: .internalServerError
            case .storageFull: .init(code: 507, reasonPhrase: "Insufficient Storage")
            case .unavailable: .serviceUnavailable
            }
        }

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
            case .tooLarge: "Too large"
            case .unsupportedMedia: "Not an accepted recording"
            case .noSuchRange: "No such range"
            case .invalid: "A value is not valid"
            case .upgradeRequired: "For WebSockets alone"
            case .tooManyRequests: "Too many requests"
            case .internalError: "Something went wrong here"
            case .storageFull: "No room for the recording"
            case .unavailable: "Not available right now"
            }
        }
    }

    var kind: Kind
    var detail: String
    /// Headers that belong to the status: `Allow`, `Retry-After`, `WWW-Authenticate`.
    var headers: HTTPFields = [:]
    /// Says that the rest of the request's body will not be read, so that the connection cannot go on.
    var closesConnection = false

    init(_ kind: Kind, _ detail: String) {
        self.kind = kind
        self.detail = detail
        switch kind {
        // RFC 9110, 15.5.2: a 401 "MUST send a WWW-Authenticate header field".
        case .unauthorized: headers[.wwwAuthenticate] = "Bearer"
        case .unavailable: headers[.retryAfter] = "2"
        default: break
        }
    }

    /// No credentials, or none that count.
    static let unauthorized = Problem(.unauthorized, "Sign in, or send a valid access token.")
    /// The account has been deactivated.
    static let inactive = Problem(.inactive, "This account is inactive. Ask your administrator.")
    /// A cookie came with a request that no page of ours has made.
    static let originForbidden = Problem(
        .originForbidden, "A request with a cookie has to come from this server's own pages.")
    /// The session is not the caller's to see, or to do this with.
    static let forbidden = Problem(.forbidden, "You may not do this with this session.")
    /// There is no such session.
    static let noSession = Problem(.notFound, "There is no such session.")

    /// A value that cannot be used.
    ///
    /// - Parameter name: The parameter or field, which the detail begins with.
    static func invalid(_ name: String, _ reason: String) -> Problem { Problem(.invalid, "\(name): \(reason)") }

    /// Too many requests of a kind.
    ///
    /// - Parameter wait: How long until the next one is taken.
    static func limited(_ detail: String, wait: Duration) -> Problem {
        var problem = Problem(.tooManyRequests, detail)
        let (seconds, fraction) = wait.components
        problem.headers[.retryAfter] = "\(max(seconds + (fraction > 0 ? 1 : 0), 1))"
        return problem
    }

    /// The same problem for a request whose body is left unread.
    func closing() -> Problem {
        var problem = self
        problem.closesConnection = true
        return problem
    }
}

extension Problem {
    private struct Body: Encodable {
        var type: String
        var title: String
        var status: Int
        var detail: String
        var requestID: String

        enum CodingKeys: String, CodingKey {
            case type, title, status, detail
            case requestID = "request_id"
        }
    }

    /// The stable URI reference of this kind of problem.
    var type: String { "/problems/\(kind.rawValue)" }

    func response(requestID: String) -> Response {
        var headers = headers
        headers[.contentType] = "application/problem+json"
        headers[.cacheControl] = "no-store"
        if closesConnection { headers[.connection] = "close" }
        return Response(
            status: kind.status, headers: headers, body: ResponseBody(byteBuffer: body(requestID: requestID)))
    }

    /// The problem as JSON.
    func body(requestID: String) -> ByteBuffer {
        JSON.encode(
            Body(type: type, title: kind.title, status: kind.status.code, detail: detail, requestID: requestID))
    }
}

/// The JSON of requests and responses.
enum JSON {
    /// Encodes a response.
    ///
    /// Our own types always encode.
    static func encode(_ value: some Encodable) -> ByteBuffer {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
        guard let data = try? encoder.encode(value) else { preconditionFailure("a response that is no JSON") }
        return ByteBuffer(bytes: data)
    }

    /// A response with a JSON body, which no cache may keep: it is somebody's health data.
    static func response(
        _ value: some Encodable, status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]
    ) -> Response {
        response(raw: encode(value), status: status, headers: headers)
    }

    /// A response with a body that is JSON already.
    static func response(
        raw body: ByteBuffer, status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]
    ) -> Response {
        var headers = headers
        headers[.contentType] = "application/json; charset=utf-8"
        if headers[.cacheControl] == nil { headers[.cacheControl] = "no-store" }
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: body))
    }

    /// Reads a small JSON body.
    ///
    /// - Parameters:
    ///   - limit: The most bytes that are read.
    ///   - maximumValues: The most values that are read. The decoder notes down the place of each first, which takes
    ///     thirty times the bytes of a list of digits.
    /// - Throws: A ``Problem``: 400 for what is no JSON, 413 past the limits, 415 for another declared type, 422 for a
    ///   missing field or a value of the wrong type, naming it.
    static func decode<Value: Decodable>(
        _ type: Value.Type, from request: Request, limit: Int = 65_536, maximumValues: Int = .max
    ) async throws -> Value {
        if let declared = request.headers[.contentType], HeaderParameters(declared).value != "application/json" {
            throw Problem(.unsupportedMedia, "Send application/json.").closing()
        }
        var body = ByteBuffer()
        for try await var part in request.body {
            guard body.readableBytes + part.readableBytes <= limit else {
                throw Problem(.tooLarge, "The body may have at most \(limit) bytes.").closing()
            }
            body.writeBuffer(&part)
        }
        guard countValues(of: body) <= maximumValues else {
            throw Problem(.tooLarge, "The body may hold at most \(maximumValues) values.")
        }
        do {
            return try JSONDecoder().decode(Value.self, from: Data(body.readableBytesView))
        } catch let error as DecodingError {
            throw problem(of: error)
        }
    }

    /// How many values JSON has at most: each but the first comes after a comma, or begins what a bracket opens.
    static func countValues(of body: ByteBuffer) -> Int {
        var count = 1
        var isInString = false
        var isEscaped = false
        for byte in body.readableBytesView {
            switch byte {
            case _ where isEscaped: isEscaped = false
            case UInt8(ascii: "\\"): isEscaped = isInString
            case UInt8(ascii: "\""): isInString.toggle()
            case UInt8(ascii: ","), UInt8(ascii: "["), UInt8(ascii: "{"): if !isInString { count += 1 }
            default: break
            }
        }
        return count
    }

    /// What is wrong with a body, or with a part of one.
    static func problem(of error: DecodingError) -> Problem {
        func name(_ path: [any CodingKey]) -> String {
            path.reduce("") { name, key in
                if let index = key.intValue { return "\(name)[\(index)]" }
                return name.isEmpty ? key.stringValue : "\(name).\(key.stringValue)"
            }
        }
        switch error {
        case .keyNotFound(let key, let context): return .invalid(name(context.codingPath + [key]), "is missing.")
        case .valueNotFound(_, let context): return .invalid(name(context.codingPath), "may not be null.")
        case .typeMismatch(_, let context) where context.codingPath.isEmpty:
            return Problem(.invalid, "The body has to be a JSON object.")
        case .typeMismatch(_, let context): return .invalid(name(context.codingPath), "has the wrong type.")
        case .dataCorrupted(let context) where context.codingPath.isEmpty:
            return Problem(.malformed, "The body is not JSON.")
        case .dataCorrupted(let context): return .invalid(name(context.codingPath), "is not valid.")
        @unknown default: return Problem(.malformed, "The body cannot be read.")
        }
    }
}

/// A whole number in a JSON body.
///
/// Foundation's decoder does not say which one it was that has a fraction or is too large: by an error of its own, it
/// calls the whole body corrupted.
struct WholeNumber: Decodable {
    let value: Int

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        do {
            value = try container.decode(Int.self)
        } catch let error as DecodingError {
            throw error
        } catch {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "no whole number")
        }
    }
}
