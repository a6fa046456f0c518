import Domain
import HTTPTypes
import Hummingbird

/// The head of the response that begins a stream, as the middleware would make it for a request without `Origin`.
///
/// Only the request's id and the date differ between two heads. The bytes around them are made once.
final class StreamHead: Sendable {
    private static let requestID = "the-request-id"
    private static let date = "the-date"

    private let beforeRequestID: [UInt8]
    private let beforeDate: [UInt8]
    private let afterDate: [UInt8]
    private let dateHeader: DateHeader

    /// Makes the bytes.
    ///
    /// - Parameters:
    ///   - securityHeaders: The headers of every answer.
    ///   - dateHeader: The value of `Date`.
    init(_ securityHeaders: SecurityHeaders, _ dateHeader: DateHeader) {
        self.dateHeader = dateHeader
        var fields = StreamAnswer.headers
        fields[.requestID] = Self.requestID
        CrossOrigin.addVary(to: &fields)
        securityHeaders.add(to: &fields)
        fields[.date] = Self.date
        let text = String(
            decoding: HTTPResponse(status: .ok, headerFields: fields).bytes(isChunked: true), as: UTF8.self)
        let parts = text.split(separator: Self.requestID)
        let rest = parts[1].split(separator: Self.date)
        beforeRequestID = Array(parts[0].utf8)
        beforeDate = Array(rest[0].utf8)
        afterDate = Array(rest[1].utf8)
    }

    /// The head of the answer to a request.
    func bytes(requestID: RequestIdentifier) -> [UInt8] {
        let date = dateHeader.value.utf8
        var bytes: [UInt8] = []
        bytes.reserveCapacity(beforeRequestID.count + 36 + beforeDate.count + date.count + afterDate.count)
        bytes += beforeRequestID
        requestID.append(to: &bytes)
        bytes += beforeDate
        bytes += date
        bytes += afterDate
        return bytes
    }
}
