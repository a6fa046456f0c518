import Gzip
import HTTPTypes
import Hummingbird
import NIOCore
import Synchronization

/// Compresses JSON for clients that accept gzip.
///
/// The `ETag` of an answer stays as it is. It names the JSON, whichever way it travels: a client sends it back in `If-Match`
/// with a correction.
///
/// Other websites cannot have their text compressed beside a secret and compare lengths (the attack BREACH): the cookies are
/// `SameSite=Strict`, and no answer repeats the text of a request beside a token.
struct JSONCompression: RouterMiddleware {
    /// An answer up to this size, in bytes, fits one packet either way.
    static let threshold = 1_024

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        var response = try await next(request, context)
        guard let type = response.headers[.contentType], Self.isJSON(type), response.headers[.contentEncoding] == nil
        else {
            return response
        }
        // A cache keeps the two forms apart, also if this answer is short.
        response.headers[.vary] = response.headers[.vary].map { "\($0), Accept-Encoding" } ?? "Accept-Encoding"
        // The answer to HEAD describes the plain form. It has no body.
        guard Self.acceptsGzip(request), response.body.contentLength ?? 0 > Self.threshold else { return response }
        // The way back depends on the body being written by its route.
        guard !context.delivery.isAwaited else { return response }
        return try await Self.compressed(response)
    }

    private static func isJSON(_ type: String) -> Bool {
        type.hasPrefix("application/json") || type.hasPrefix("application/problem+json")
    }

    private static func compressed(_ response: Response) async throws -> Response {
        let collector = BodyCollector()
        try await response.body.write(collector)
        let plain = collector.bytes
        var headers = response.headers
        // The response below sets the length of its own body.
        headers[.contentLength] = nil
        let compressed = Gzip.compress(plain)
        if compressed != nil { headers[.contentEncoding] = "gzip" }
        return Response(
            status: response.status, headers: headers,
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: compressed ?? plain)))
    }

    /// True if the client accepts gzip (RFC 9110, 12.5.3): by name, or by `*` if it does not name gzip.
    static func acceptsGzip(_ request: Request) -> Bool {
        guard let accepted = request.headers[.acceptEncoding] else { return false }
        let codings = accepted.split(separator: ",").map { HeaderParameters(String($0)) }
        let decisive = codings.first { $0.value == "gzip" || $0.value == "x-gzip" } ?? codings.first { $0.value == "*" }
        return decisive.map { ($0["q"].flatMap { Double($0) } ?? 1) > 0 } ?? false
    }
}

/// Takes a body instead of the client.
private final class BodyCollector: ResponseBodyWriter, Sendable {
    private let collected = Mutex<[UInt8]>([])

    var bytes: [UInt8] { collected.withLock { $0 } }

    func write(_ buffer: ByteBuffer) { collected.withLock { $0 += buffer.readableBytesView } }

    func finish(_ trailingHeaders: HTTPFields?) {}
}
