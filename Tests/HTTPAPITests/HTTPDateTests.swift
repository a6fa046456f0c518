import Foundation
import Testing

@testable import HTTPAPI

@Suite struct HTTPDateTests {
    @Test(
        "A date of HTTP is written and read",
        arguments: [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1_709_208_000, "Thu, 29 Feb 2024 12:00:00 GMT"), (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ])
    func dates(_ second: Int64, _ text: String) {
        #expect(HTTPDate.text(Date(timeIntervalSince1970: Double(second))) == text)
        #expect(HTTPDate(text)?.second == second)
    }

    @Test(
        "Other texts are no date",
        arguments: [
            "", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun, 31 Feb 2024 00:00:00 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:49:60 GMT", "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, ٠٦ Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT ",
        ])
    func others(_ text: String) {
        #expect(HTTPDate(text) == nil)
    }
}
