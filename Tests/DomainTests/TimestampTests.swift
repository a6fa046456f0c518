import Domain
import Foundation
import Testing

@Suite struct TimestampTests {
    @Test(
        "A time is read and written in RFC 3339 form",
        arguments: [
            ("1970-01-01T00:00:00Z", Int64(0), "1970-01-01T00:00:00.000000Z"),
            ("2026-11-22T09:30:00.123456Z", 1_795_339_800_123_456, "2026-11-22T09:30:00.123456Z"),
            ("2026-11-22T09:30:00.5Z", 1_795_339_800_500_000, "2026-11-22T09:30:00.500000Z"),
            // Digits after the microsecond are cut off: rounding could carry into the next year.
            ("2026-11-22T09:30:00.123456999Z", 1_795_339_800_123_456, "2026-11-22T09:30:00.123456Z"),
            ("1969-12-31T23:59:59.999999Z", -1, "1969-12-31T23:59:59.999999Z"),
            ("2026-11-22t09:30:00z", 1_795_339_800_000_000, "2026-11-22T09:30:00.000000Z"),
            ("2026-11-22 09:30:00Z", 1_795_339_800_000_000, "2026-11-22T09:30:00.000000Z"),
            ("2026-11-22", 1_795_305_600_000_000, "2026-11-22T00:00:00.000000Z"),
            ("2026-11-22T09:30:00+00:00", 1_795_339_800_000_000, "2026-11-22T09:30:00.000000Z"),
            ("2026-11-22T11:30:00+02:00", 1_795_339_800_000_000, "2026-11-22T09:30:00.000000Z"),
            ("2026-11-22T00:15:00-09:15", 1_795_339_800_000_000, "2026-11-22T09:30:00.000000Z"),
            // A leap second (RFC 3339, 5.6). POSIX time has none, and it becomes the next second.
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000, "2017-01-01T00:00:00.000000Z"),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000_000, "0001-01-01T00:00:00.000000Z"),
            ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
        ])
    func readsAndWrites(_ text: String, _ microseconds: Int64, _ description: String) throws {
        let time = try #require(Timestamp(rfc3339: text))
        #expect(time.microsecondsSinceEpoch == microseconds)
        #expect(time.description == description)
        #expect(Timestamp(rfc3339: time.description) == time)
    }

    @Test(
        "The date of a session may lack its offset, which is UTC then, and its seconds",
        arguments: [
            ("2026-11-22T09:30:00", "2026-11-22T09:30:00.000000Z"), ("2026-11-22T09:30", "2026-11-22T09:30:00.000000Z"),
            ("2026-11-22 09:30:00.25", "2026-11-22T09:30:00.250000Z"), ("2026-11-22", "2026-11-22T00:00:00.000000Z"),
            ("2026-11-22T09:30Z", "2026-11-22T09:30:00.000000Z"),
            ("2026-11-22T09:30+02:00", "2026-11-22T07:30:00.000000Z"),
            ("2026-11-22T09:30:00+02:00", "2026-11-22T07:30:00.000000Z"),
        ])
    func sessionDates(_ text: String, _ description: String) {
        #expect(Timestamp(sessionDate: text)?.description == description)
    }

    @Test(
        "Text that is not the date of a session is refused",
        arguments: [
            "", "yesterday", "2026-02-30", "2026-11-22T", "2026-11-22T25:00", "09:30", "22.11.2026", "2026-11-22T9:30",
        ])
    func otherSessionDates(_ text: String) {
        #expect(Timestamp(sessionDate: text) == nil)
    }

    @Test(
        "Text that is not a time is refused",
        arguments: [
            "", " ", "now", "infinity", "2026", "2026-11", "2026-1-2", "26-11-22", "2026-11-22T", "2026-11-22T09:30Z",
            "2026-11-22T09:30:00", "2026-11-22T09:30:00 Z", " 2026-11-22", "2026-11-22\n", "2026-00-01", "2026-13-01",
            "2026-01-00", "2026-01-32", "2026-04-31", "2026-02-29", "1900-02-29", "2100-02-29", "2026-11-22T24:00:00Z",
            "2026-11-22T09:60:00Z", "2026-11-22T09:30:61Z", "2026-11-22T09:30:00.Z", "2026-11-22T09:30:00,5Z",
            "2026-11-22T09:30:00.1234567890Z", "2026-11-22T09:30:00+2:00", "2026-11-22T09:30:00+24:00",
            "2026-11-22T09:30:00+00:60", "2026-11-22T09:30:00+0200", "+2026-11-22", "-2026-11-22", "12026-11-22",
            "0000-06-01", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01",
            "２０２６-11-22", "2026-11-22T09:30:00.١Z",
        ])
    func refuses(_ text: String) {
        #expect(Timestamp(rfc3339: text) == nil)
    }

    @Test("Leap days are known", arguments: [4, 400, 1600, 1904, 2000, 2024, 2400, 9996])
    func leapDays(_ year: Int) throws {
        let name = String(format: "%04d", year)
        let leapDay = try #require(Timestamp(rfc3339: "\(name)-02-29"))
        let next = try #require(Timestamp(rfc3339: "\(name)-03-01"))
        #expect(next.duration(since: leapDay) == .seconds(86_400))
    }

    @Test("The months of the years 1 to 9999 are known")
    func everyMonth() throws {
        var monthBegin = try #require(Timestamp(rfc3339: "0001-01-01"))
        let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        var mistakes: [String] = []
        for year in 1...9999 {
            let isLeap = year.isMultiple(of: 4) && (!year.isMultiple(of: 100) || year.isMultiple(of: 400))
            for (month, length) in zip(1..., lengths) {
                let length = month == 2 && isLeap ? 29 : length
                for day in [1, 15, length] {
                    let time = monthBegin.advanced(by: .seconds((day - 1) * 86_400))
                    let name = "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T00:00:00.000000Z"
                    if time.description != name { mistakes.append("\(time) is \(name)") }
                }
                monthBegin = monthBegin.advanced(by: .seconds(length * 86_400))
            }
        }
        #expect(mistakes.prefix(3) == [])
    }

    private func padded(_ number: Int, _ digits: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: digits - text.count) + text
    }

    @Test("Every microsecond survives a conversion to Date and back")
    func throughDate() {
        for microseconds in Int64(1_795_339_800_000_000)..<1_795_339_800_001_000 {
            let time = Timestamp(microsecondsSinceEpoch: microseconds)
            #expect(Timestamp(time.date) == time)
        }
    }

    @Test("A time is text in JSON")
    func json() throws {
        let time = Timestamp(microsecondsSinceEpoch: 1_795_339_800_123_456)
        let data = try JSONEncoder().encode([time])
        #expect(String(decoding: data, as: UTF8.self) == #"["2026-11-22T09:30:00.123456Z"]"#)
        #expect(try JSONDecoder().decode([Timestamp].self, from: data) == [time])
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode([Timestamp].self, from: Data(#"["yesterday"]"#.utf8))
        }
    }

    @Test("Times are ordered, moved and measured in microseconds")
    func arithmetic() {
        let time = Timestamp(microsecondsSinceEpoch: 10)
        #expect(time.advanced(by: .microseconds(-11)).microsecondsSinceEpoch == -1)
        #expect(time.advanced(by: .milliseconds(1)).duration(since: time) == .milliseconds(1))
        #expect(time < time.advanced(by: .microseconds(1)))
    }
}
