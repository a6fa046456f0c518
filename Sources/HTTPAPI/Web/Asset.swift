import Crypto
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore
import TextForms

/// A file in the binary, ready to send in up to three encodings.
struct Asset: Sendable {
    /// The file as it travels with one `Content-Encoding`.
    private struct Form {
        /// The name of the encoding; nil for the plain file.
        let encoding: String?
        let body: ByteBuffer
        let etag: String
    }

    private let contentType: String
    /// The forms by their size, the smallest one first.
    ///
    /// The plain file is the last one.
    private let forms: [Form]

    /// The entity tag of the plain file.
    var etag: String { forms.last?.etag ?? "" }

    /// Prepares a file.
    ///
    /// - Parameters:
    ///   - data: The file.
    ///   - contentType: Its `Content-Type`.
    ///   - gzip: The file, compressed by gzip; nil if it has no such form.
    ///   - brotli: The same by Brotli. A machine without Brotli makes no such form.
    init(_ data: Data, contentType: String, gzip: Data? = nil, brotli: Data? = nil) {
        self.contentType = contentType
        let hash = SHA256.hash(data: data).prefix(12).hexadecimal
        var forms: [Form] = []
        for (encoding, body) in [("br", brotli), ("gzip", gzip)] {
            guard let body else { continue }
            forms.append(
                Form(encoding: encoding, body: ByteBuffer(bytes: body), etag: "\"\(hash)-\(encoding)\""))
        }
        forms.append(Form(encoding: nil, body: ByteBuffer(bytes: data), etag: "\"\(hash)\""))
        self.forms = forms
    }

    /// Answers a request with the smallest form that the client accepts.
    ///
    /// - Parameters:
    ///   - request: The request, which names the encodings and the known entity tags.
    ///   - isImmutable: True if the path names this very version of the file: browsers then never ask again.
    /// - Returns: The file, or 304 if the client has it.
    func response(to request: Request, isImmutable: Bool = false) -> Response {
        let form = forms.first { Self.accepts($0.encoding, request) } ?? forms[forms.count - 1]
        var headers: HTTPFields = [
            .eTag: form.etag, .contentType: contentType,
            .cacheControl: isImmutable ? "public, max-age=31536000, immutable" : "no-cache",
        ]
        if forms.count > 1 { headers[.vary] = "Accept-Encoding" }
        if let known = request.headers[.ifNoneMatch], EntityTags(known).contains(form.etag) {
            return Response(status: .notModified, headers: headers)
        }
        headers[.contentEncoding] = form.encoding
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: form.body))
    }

    /// True if the client accepts the encoding (RFC 9110, 12.5.3).
    ///
    /// `*` counts for gzip alone, which every client that writes it knows.
    private static func accepts(_ encoding: String?, _ request: Request) -> Bool {
        switch encoding {
        case nil: true
        case "gzip": JSONCompression.acceptsGzip(request)
        case let name?:
            request.headers[.acceptEncoding]?.split(separator: ",").contains { text in
                let coding = HeaderParameters(String(text))
                return coding.value == name && (coding["q"].flatMap { Double($0) } ?? 1) > 0
            } ?? false
        }
    }
}
