import Crypto
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// A file of the binary as it is sent.
struct Asset: Sendable {
    let body: ByteBuffer
    let contentType: String
    let etag: String

    init(_ data: Data, contentType: String) {
        body = ByteBuffer(bytes: data)
        self.contentType = contentType
        etag = "\"" + SHA256.hash(data: data).prefix(12).map { String(format: "%02x", $0) }.joined() + "\""
    }

    func response(to request: Request) -> Response {
        let headers: HTTPFields = [.eTag: etag, .cacheControl: "no-cache", .contentType: contentType]
        if let known = request.headers[.ifNoneMatch], EntityTags(known).contains(etag) {
            return Response(status: .notModified, headers: headers)
        }
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: body))
    }
}
