import FoundationEssentials
import Glibc

/// A date in the form of HTTP (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
///
/// The names of days and months are English, because the program stays in the locale `C`.
struct HTTPDate {
    /// Seconds since 1970-01-01T00:00:00Z.
    let second: Int64

    /// Reads a date; nil for any other text, and for the two obsolete forms, which no client sends any more.
    init?(_ text: String) {
        let pattern = /[A-Z][a-z]{2}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT/
        guard let match = text.wholeMatch(of: pattern)?.output, let month = Self.months.firstIndex(of: String(match.2)),
            let day = Int32(match.1), let year = Int32(match.3), let hour = Int32(match.4), let minute = Int32(match.5),
            let second = Int32(match.6)
        else { return nil }
        var parts = tm()
        (parts.tm_year, parts.tm_mon, parts.tm_mday) = (year - 1900, Int32(month), day)
        (parts.tm_hour, parts.tm_min, parts.tm_sec) = (hour, minute, second)
        let time = timegm(&parts)
        // timegm takes the 31st of February as a day of March, and does not look at the day of the week.
        guard Self.text(time) == text else { return nil }
        self.second = Int64(time)
    }

    /// Writes a date, without the parts of its second.
    static func text(_ date: Date) -> String { text(time_t(date.timeIntervalSince1970.rounded(.down))) }

    private static func text(_ second: time_t) -> String {
        var second = second
        var parts = tm()
        gmtime_r(&second, &parts)
        var text = [CChar](repeating: 0, count: 64)
        let length = strftime(&text, text.count, form, &parts)
        return String(decoding: text.prefix(length).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private static let form = "%a, %d %b %Y %H:%M:%S GMT"
    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
}
