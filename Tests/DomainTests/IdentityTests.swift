import Domain
import Foundation
import Testing

@Suite("An identifier")
struct EntityIDTests {
    private let text = "550e8400-e29b-41d4-a716-446655440000"

    @Test("is read in either case and written in lower case")
    func letterCase() throws {
        let id = try #require(SessionID(text.uppercased()))
        #expect(id.description == text)
        #expect(id == SessionID(text))
    }

    @Test(
        "refuses what is no UUID",
        arguments: [
            "", "1", "550e8400-e29b-41d4-a716-44665544000", "550e8400-e29b-41d4-a716-4466554400000",
            "550e8400e29b41d4a716446655440000", "{550e8400-e29b-41d4-a716-446655440000}",
            "550e8400-e29b-41d4-a716-44665544000g", " 550e8400-e29b-41d4-a716-446655440000",
            "550e8400-e29b-41d4-a716-446655440000 ", "550e8400-e29b-41d4-a716-446655440000\n",
            "550e8400-e29b-41d4-a716-446655440000\0", "550e8400_e29b_41d4_a716_446655440000",
            "550e84000e29b041d40a716-446655440000", "550e8400-e29b-41d4-a716-44665\n440000",
            "550e8400-e29b-41d4-a716-4466554 0000", "550e8400-e29b-41d4-a716-4466554+0000",
            "550e8400-e29b-41d4-a716-446655440000' OR true --",
        ])
    func refuses(_ text: String) {
        #expect(UserID(text) == nil)
    }

    @Test("travels through JSON as text")
    func json() throws {
        let id = try #require(SessionID(text))
        let data = try JSONEncoder().encode([id])
        #expect(String(decoding: data, as: UTF8.self) == "[\"\(text)\"]")
        #expect(try JSONDecoder().decode([SessionID].self, from: data) == [id])
        #expect(throws: DecodingError.self) { try JSONDecoder().decode([SessionID].self, from: Data(#"["x"]"#.utf8)) }
    }

    @Test("is ordered by its bytes, as PostgreSQL orders uuid")
    func order() throws {
        let texts = [
            "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-0000000000ff",
            "00000000-0000-0000-0000-000000000100", "7fffffff-0000-0000-0000-000000000000",
            "80000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ]
        let ids = try texts.map { try #require(SessionID($0)) }
        #expect(ids.reversed().sorted().map(\.description) == texts)
    }

    @Test("is new each time")
    func random() {
        #expect(Set((0..<1000).map { _ in SessionID.random() }).count == 1000)
    }
}

@Suite("An e-mail address")
struct EmailAddressTests {
    @Test(
        "is trimmed and lower-case",
        arguments: [
            ("a@b", "a@b"), ("  Ada@Example.ORG\n", "ada@example.org"),
            ("o'hara+x@example.org", "o'hara+x@example.org"),
            ("ÄRZTIN@example.org", "ärztin@example.org"),
        ])
    func normalises(_ text: String, _ address: String) {
        #expect(EmailAddress(text)?.description == address)
    }

    @Test(
        "refuses what a person may have mistyped",
        arguments: [
            "", "@", "a", "a@", "@b", "a@b@c", "a b@c", "a@b c", "a@b\u{0}", "a\u{1F}@b", "a@\u{A0}b", "a\n@b",
        ])
    func refuses(_ text: String) {
        #expect(EmailAddress(text) == nil)
    }

    @Test("has at most 254 characters")
    func length() {
        let domain = "@example.org"
        #expect(EmailAddress(String(repeating: "a", count: 254 - domain.count) + domain) != nil)
        #expect(EmailAddress(String(repeating: "a", count: 255 - domain.count) + domain) == nil)
    }
}
