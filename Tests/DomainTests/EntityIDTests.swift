import Domain
import Foundation
import Testing

@Suite struct EntityIDTests {
    private let text = "550e8400-e29b-41d4-a716-446655440000"

    @Test("An id is read in either case and written in lower case")
    func letterCase() throws {
        let id = try #require(SessionID(text.uppercased()))
        #expect(id.description == text)
        #expect(id == SessionID(text))
    }

    @Test(
        "Text that is not a UUID is not an id",
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

    @Test("An id is text in JSON")
    func json() throws {
        let id = try #require(SessionID(text))
        let data = try JSONEncoder().encode([id])
        #expect(String(decoding: data, as: UTF8.self) == "[\"\(text)\"]")
        #expect(try JSONDecoder().decode([SessionID].self, from: data) == [id])
        #expect(throws: DecodingError.self) { try JSONDecoder().decode([SessionID].self, from: Data(#"["x"]"#.utf8)) }
    }

    @Test("Ids are ordered by bytes, as PostgreSQL orders uuid")
    func order() throws {
        let texts = [
            "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-0000000000ff",
            "00000000-0000-0000-0000-000000000100", "7fffffff-0000-0000-0000-000000000000",
            "80000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ]
        let ids = try texts.map { try #require(SessionID($0)) }
        #expect(ids.reversed().sorted().map(\.description) == texts)
    }

    @Test("Random ids differ, and are UUIDs of version 4")
    func random() {
        let ids = (0..<1000).map { _ in SessionID.random() }
        #expect(Set(ids).count == 1000)
        // RFC 9562, 5.4: the version is the first digit of the third group, and the variant that of the fourth.
        for id in ids { #expect(id.description.wholeMatch(of: /.{14}4.{4}[89ab].{16}/) != nil, "\(id)") }
    }

    @Test("The text form in ASCII is the description")
    func ascii() {
        let id = RequestIdentifier.random()
        var bytes = Array("id: ".utf8)
        id.append(to: &bytes)
        #expect(bytes == Array("id: \(id)".utf8))
    }
}
