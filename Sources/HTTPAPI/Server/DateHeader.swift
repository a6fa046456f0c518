import Foundation
import Synchronization

/// The value of the header `Date`, made once a second.
final class DateHeader: Sendable {
    private let present = Mutex<(second: Int, text: String)>((.min, ""))

    /// The present date in the form of RFC 9110, 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
    var value: String {
        let second = time(nil)
        return present.withLock { present in
            if present.second != second { present = (second, Self.text(of: second)) }
            return present.text
        }
    }

    private static func text(of second: Int) -> String {
        var moment = second
        var parts = tm()
        gmtime_r(&moment, &parts)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let weekday = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][Int(parts.tm_wday)]
        let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][
            Int(parts.tm_mon)]
        let time = "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
        return "\(weekday), \(two(parts.tm_mday)) \(month) \(1900 + parts.tm_year) \(time) GMT"
    }
}
