import DurationUnits
public import FoundationEssentials

/// A point in time in microseconds, the resolution of PostgreSQL's `timestamptz`.
///
/// `Date` counts floating-point seconds, and cannot hold every microsecond of the database exactly.
public struct Timestamp: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    /// Microseconds since 1970-01-01T00:00:00Z; negative before.
    public let microsecondsSinceEpoch: Int64

    /// Wraps a count of microseconds since 1970-01-01T00:00:00Z.
    public init(microsecondsSinceEpoch: Int64) {
        self.microsecondsSinceEpoch = microsecondsSinceEpoch
    }

    /// Rounds a `Date` to the nearest microsecond.
    public init(_ date: Date) {
        self.init(microsecondsSinceEpoch: Int64((date.timeIntervalSince1970 * 1_000_000).rounded()))
    }

    /// The present time of the system clock.
    public static func now() -> Timestamp { Timestamp(Date()) }

    /// The same time as a `Date`.
    public var date: Date { Date(timeIntervalSince1970: Double(microsecondsSinceEpoch) / 1_000_000) }

    /// The time `duration` later.
    public func advanced(by duration: Duration) -> Timestamp {
        Timestamp(microsecondsSinceEpoch: microsecondsSinceEpoch + duration.whole(.microseconds))
    }

    /// How much later this time is than `other`; negative when it is earlier.
    public func duration(since other: Timestamp) -> Duration {
        .microseconds(microsecondsSinceEpoch - other.microsecondsSinceEpoch)
    }

    /// Whether the left time is the earlier one.
    public static func < (left: Timestamp, right: Timestamp) -> Bool {
        left.microsecondsSinceEpoch < right.microsecondsSinceEpoch
    }

    /// RFC 3339 in UTC with six digits of fraction: `2026-11-22T09:30:00.123456Z`.
    public var description: String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(27)
        append(to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Appends the RFC 3339 form as ASCII.
    ///
    /// Every event has two times, and a formatter would be slow.
    public func append(to bytes: inout [UInt8]) {
        let (secondsOfEpoch, microsecond) = microsecondsSinceEpoch.flooredQuotientAndRemainder(dividingBy: 1_000_000)
        let (day, secondOfDay) = secondsOfEpoch.flooredQuotientAndRemainder(dividingBy: 86_400)
        let date = CivilDate(daysSinceEpoch: day)
        bytes.append(number: date.year, digits: 4)
        bytes.append(UInt8(ascii: "-"))
        bytes.append(number: date.month, digits: 2)
        bytes.append(UInt8(ascii: "-"))
        bytes.append(number: date.day, digits: 2)
        bytes.append(UInt8(ascii: "T"))
        bytes.append(number: secondOfDay / 3600, digits: 2)
        bytes.append(UInt8(ascii: ":"))
        bytes.append(number: secondOfDay / 60 % 60, digits: 2)
        bytes.append(UInt8(ascii: ":"))
        bytes.append(number: secondOfDay % 60, digits: 2)
        bytes.append(UInt8(ascii: "."))
        bytes.append(number: microsecond, digits: 6)
        bytes.append(UInt8(ascii: "Z"))
    }

    /// Parses RFC 3339 with any offset and up to nine digits of fraction, or a date `YYYY-MM-DD` as midnight UTC.
    ///
    /// Nil for any other text, and for a time outside the years 1 to 9999 of UTC, which four digits cannot write.
    public init?(rfc3339 text: String) {
        let full = /(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d))?/
            .asciiOnlyDigits()
        guard let match = text.wholeMatch(of: full)?.output,
            let year = Int64(match.1), let month = Int64(match.2), let day = Int64(match.3),
            let days = CivilDate(year: year, month: month, day: day)?.daysSinceEpoch
        else { return nil }
        var seconds = days * 86_400
        var microseconds: Int64 = 0
        if let hourText = match.4, let minuteText = match.5, let secondText = match.6, let zone = match.8 {
            guard let hour = Int64(hourText), let minute = Int64(minuteText), let second = Int64(secondText),
                hour < 24, minute < 60, second <= 60
            else { return nil }
            seconds += hour * 3600 + minute * 60 + second
            if zone.count == 6 {
                guard let offsetHour = Int64(zone.dropFirst().prefix(2)), let offsetMinute = Int64(zone.suffix(2)),
                    offsetHour < 24, offsetMinute < 60
                else { return nil }
                let offset = offsetHour * 3600 + offsetMinute * 60
                seconds += zone.hasPrefix("-") ? offset : -offset
            }
            if let fraction = match.7 {
                let digits = fraction.prefix(6)
                microseconds = Int64(digits + String(repeating: "0", count: 6 - digits.count)) ?? 0
            }
        }
        guard (-62_135_596_800..<253_402_300_800).contains(seconds) else { return nil }
        self.init(microsecondsSinceEpoch: seconds * 1_000_000 + microseconds)
    }

    /// Parses the date of a session, as forms have it: RFC 3339, in which the offset or the seconds may be missing.
    ///
    /// A time without an offset is in UTC. The server does not know the time zone of the client.
    public init?(sessionDate text: String) {
        let form = /(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d)(:\d\d(?:\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)?/.asciiOnlyDigits()
        guard let parts = text.wholeMatch(of: form)?.output else {
            self.init(rfc3339: text)
            return
        }
        self.init(rfc3339: "\(parts.1)\(parts.2 ?? ":00")\(parts.3 ?? "Z")")
    }

    /// Decodes the RFC 3339 form.
    ///
    /// - Throws: `DecodingError` if the value is not a time in RFC 3339 form.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let value = Timestamp(rfc3339: try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not an RFC 3339 time")
        }
        self = value
    }

    /// Encodes the RFC 3339 form.
    ///
    /// - Throws: The error of the encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// A day of the proleptic Gregorian calendar.
///
/// The conversions are `days_from_civil` and `civil_from_days` of Howard Hinnant's "chrono-Compatible Low-Level Date
/// Algorithms". Their years begin in March, and the leap day is the last day of a year.
struct CivilDate {
    let year: Int64
    let month: Int64
    let day: Int64

    /// A date of the calendar; nil for a date that does not exist, such as 2026-02-30.
    init?(year: Int64, month: Int64, day: Int64) {
        self.init(unchecked: year, month, day)
        guard (1...12).contains(month), day >= 1 else { return nil }
        let back = CivilDate(daysSinceEpoch: daysSinceEpoch)
        guard back.month == month, back.day == day else { return nil }
    }

    private init(unchecked year: Int64, _ month: Int64, _ day: Int64) {
        (self.year, self.month, self.day) = (year, month, day)
    }

    init(daysSinceEpoch: Int64) {
        let shifted = daysSinceEpoch + 719_468
        let (era, dayOfEra) = shifted.flooredQuotientAndRemainder(dividingBy: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        self.init(
            unchecked: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * marchMonth + 2) / 5 + 1)
    }

    var daysSinceEpoch: Int64 {
        let shiftedYear = month <= 2 ? year - 1 : year
        let (era, yearOfEra) = shiftedYear.flooredQuotientAndRemainder(dividingBy: 400)
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }
}

extension Int64 {
    /// The quotient, rounded towards minus infinity, and the remainder, which is not negative for a positive divisor.
    fileprivate func flooredQuotientAndRemainder(dividingBy divisor: Int64) -> (Int64, Int64) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}

extension [UInt8] {
    /// Appends a decimal number with leading zeros.
    fileprivate mutating func append(number: Int64, digits: Int) {
        var divisor: Int64 = 1
        for _ in 1..<digits { divisor *= 10 }
        while divisor > 0 {
            append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: (number / divisor % 10).magnitude))
            divisor /= 10
        }
    }
}
