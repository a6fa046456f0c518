import Domain
import FoundationEssentials
import HTTPTypes
import Hummingbird
import JSONScanning
import NIOCore
import Streaming

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
        guard let data = try? encoder.encode(value) else { preconditionFailure("a response cannot be encoded as JSON") }
        return ByteBuffer(bytes: data)
    }

    /// Encodes the progress object, the same for every way to a client.
    static func encode(progress: SessionProgress) -> ByteBuffer {
        var bytes: [UInt8] = []
        appendJSON(progress, to: &bytes)
        return ByteBuffer(bytes: bytes)
    }

    /// A response with a JSON body.
    ///
    /// No cache may keep it, because it may hold health data.
    static func response(
        _ value: some Encodable, status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]
    ) -> Response {
        response(raw: encode(value), status: status, headers: headers)
    }

    /// A response whose body is already JSON.
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
    ///   - type: The type to decode.
    ///   - request: The request.
    ///   - limit: The maximum size of the body in bytes.
    ///   - maximumValues: The maximum number of values.
    /// - Returns: The value.
    /// - Throws: A ``Problem``: 400 for a body that is not JSON, 413 beyond the limits, 415 for another type or for
    ///   none, 422 for a missing field or a value of the wrong type, whose name it gives.
    static func decode<Value: Decodable>(
        _ type: Value.Type, from request: Request, limit: Int = 65_536, maximumValues: Int = .max
    ) async throws -> Value {
        let body = try await body(of: request, limit: limit, maximumValues: maximumValues)
        do {
            return try JSONDecoder().decode(Value.self, from: Data(body.readableBytesView))
        } catch let error as DecodingError {
            throw problem(of: error)
        }
    }

    /// Reads the body of a request that declares it as JSON.
    ///
    /// - Parameters:
    ///   - request: The request.
    ///   - limit: The maximum size of the body in bytes.
    ///   - maximumValues: The maximum number of values. A decoder first stores the position of each value, which takes
    ///     thirty times the bytes of a list of digits.
    ///   - onPart: Receives the number of bytes after each part, and may throw to end the request.
    /// - Returns: The body, which may be no JSON.
    /// - Throws: A ``Problem``: 413 beyond the limits, 415 for another type or for none; the error of `onPart`.
    static func body(
        of request: Request, limit: Int, maximumValues: Int, onPart: (Int) throws -> Void = { _ in }
    ) async throws -> ByteBuffer {
        try requireType(of: request)
        var body = ByteBuffer()
        for try await var part in request.body {
            guard body.readableBytes + part.readableBytes <= limit else {
                throw Problem(.tooLarge, "The body may have at most \(limit) bytes.").closing()
            }
            body.writeBuffer(&part)
            try onPart(body.readableBytes)
        }
        guard maximumValues == .max || JSONSlices.countValues(of: body.readableBytesView) <= maximumValues else {
            throw Problem(.tooLarge, "The body may hold at most \(maximumValues) values.")
        }
        return body
    }

    /// Checks that a request declares its body as JSON, before the body is read.
    ///
    /// - Throws: 415 for another type or for none.
    static func requireType(of request: Request) throws(Problem) {
        let declared = request.headers[.contentType].map { HeaderParameters($0).value }
        // A page of another website can send a body without a type, or with the type of a form, without asking first.
        guard declared == "application/json" || declared == nil && !request.hasBody else {
            throw Problem(.unsupportedMedia, "Send application/json.").closing()
        }
    }

    /// The name of a member for a client, such as `segments[2].text`.
    static func name(_ path: [any CodingKey]) -> String {
        path.reduce("") { name, key in
            if let index = key.intValue { return "\(name)[\(index)]" }
            return name.isEmpty ? key.stringValue : "\(name).\(key.stringValue)"
        }
    }

    /// The problem with a body, or with a part of one.
    static func problem(of error: DecodingError) -> Problem {
        switch error {
        case .keyNotFound(let key, let context):
            return .invalid(name(context.codingPath + [key]), "is missing.", .missing)
        case .valueNotFound(_, let context) where context.codingPath.isEmpty:
            return Problem(.invalid, "The body has to be a JSON object.")
        case .valueNotFound(_, let context): return .invalid(name(context.codingPath), "cannot be null.", .null)
        case .typeMismatch(_, let context) where context.codingPath.isEmpty:
            return Problem(.invalid, "The body has to be a JSON object.")
        case .typeMismatch(_, let context): return .invalid(name(context.codingPath), "has the wrong type.", .wrongType)
        case .dataCorrupted(let context) where context.codingPath.isEmpty:
            return Problem(.malformed, "The body is not JSON.")
        case .dataCorrupted(let context): return .invalid(name(context.codingPath), "is not valid.")
        @unknown default: return Problem(.malformed, "The body cannot be read.")
        }
    }
}

/// A whole number in a JSON body.
///
/// For a fraction or a number out of range, Foundation's decoder throws an error of another type, which does not name
/// the field. This type turns it into one that does.
struct WholeNumber: Decodable {
    let value: Int

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        do {
            value = try container.decode(Int.self)
        } catch let error as DecodingError {
            throw error
        } catch {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a whole number")
        }
    }
}
