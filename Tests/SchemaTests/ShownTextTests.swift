import Domain
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// `app.one_line` against `Unicode.Scalar.mayBeShown`: the rule for text that people see, in SQL and in Swift.
@Suite(.deadline) struct ShownTextTests {
    /// Every code point of the Basic Multilingual Plane, and the ends of the other planes with some scalars in between.
    ///
    /// PostgreSQL stores no NUL, and surrogates are not scalars.
    private static let codePoints: [Int32] =
        Array(1...0xD7FF) + Array(0xE000...0xFFFF)
        + [
            0x1_0000, 0x1_00A0, 0x1_1F00, 0x1_BCA0, 0x1_D173, 0x1_F1E6, 0x1_F468, 0x1_F9E0, 0x1_FFFF, 0x2_0000,
            0x2_00AD,
            0x2_FFFF, 0x3_0000, 0xE_0001, 0xE_0020, 0xE_007F, 0xE_0100, 0xF_0000, 0xF_FFFD, 0x10_0000, 0x10_202E,
            0x10_FFFF,
        ]

    @Test("SQL and Swift forbid the same characters")
    func sameRule() async throws {
        try await withDatabase { database in
            let replaced = try await database.query(
                """
                SELECT c.code FROM unnest(\(Self.codePoints)) AS c (code)
                WHERE app.one_line('a' || chr(c.code) || 'b') <> 'a' || chr(c.code) || 'b' ORDER BY c.code
                """
            ).map { try $0.decode(0, as: Int32.self) }
            let forbidden = Self.codePoints.filter { Unicode.Scalar(UInt32($0)).map { !$0.mayBeShown } ?? false }
            #expect(replaced == forbidden.sorted())
            // The test must not compare two empty lists.
            #expect(forbidden.contains(0x2028))
            #expect(forbidden.contains(0x202E))
        }
    }

    @Test("One space replaces each run of forbidden characters")
    func runs() async throws {
        try await withDatabase { database in
            let text = try await database.query(
                "SELECT app.one_line(\("one\r\n\u{2028}two\u{202E}\u{1B}three\u{85}four 👩‍👩‍👧"))"
            )[0].decode(0, as: String.self)
            #expect(text == "one two three four 👩‍👩‍👧")
            #expect(text.shown == text)
        }
    }
}
