import Foundation
import HTTPTypes
import Hummingbird
import Synchronization

/// The head of the response that begins a stream, as the middleware would make it for a request without `Origin`.
///
/// Only the request's id and the date differ between two heads. The bytes around them are made once.
final class StreamHead: Sendable {
    private static let requestID = "the-request-id"
    private static let date = "the-date"

    private let beforeRequestID: [UInt8]
    private let beforeDate: [UInt8]
    private let afterDate: [UInt8]
    private let dates = Mutex<(second: Int, text: [UInt8])>((.min, []))

    /// Makes the bytes.
    ///
    /// - Parameter securityHeaders: The headers of every answer.
    init(_ securityHeaders: SecurityHeaders) {
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
    func bytes(requestID: String) -> [UInt8] {
        let date = presentDate()
        var bytes: [UInt8] = []
        bytes.reserveCapacity(beforeRequestID.count + 36 + beforeDate.count + date.count + afterDate.count)
        bytes += beforeRequestID
        bytes += requestID.utf8
        bytes += beforeDate
        bytes += date
        bytes += afterDate
        return bytes
    }

    /// The present date in the form of RFC 9110, 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
    private func presentDate() -> [UInt8] {
        let second = time(nil)
        return dates.withLock { present in
            if present.second != second { present = (second, Self.date(second)) }
            return present.text
        }
    }

    private static func date(_ second: Int) -> [UInt8] {
        var moment = second
        var parts = tm()
        gmtime_r(&moment, &parts)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let weekday = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][Int(parts.tm_wday)]
        let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][
            Int(parts.tm_mon)]
        let time = "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
        return Array("\(weekday), \(two(parts.tm_mday)) \(month) \(1900 + parts.tm_year) \(time) GMT".utf8)
    }
}
