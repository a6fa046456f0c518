import Domain
import Testing

@Suite struct EmailAddressTests {
    @Test(
        "An address is trimmed, and its ASCII letters are lower-case",
        arguments: [
            ("a@b", "a@b"), ("  Ada@Example.ORG\n", "ada@example.org"),
            ("o'hara+x@example.org", "o'hara+x@example.org"),
            ("ärztIN@example.org", "ärztin@example.org"), ("ÄRZTIN@example.org", "Ärztin@example.org"),
        ])
    func normalises(_ text: String, _ address: String) {
        #expect(EmailAddress(text)?.description == address)
    }

    @Test(
        "A mistyped address is refused",
        arguments: [
            "", "@", "a", "a@", "@b", "a@b@c", "a b@c", "a@b c", "a@b\u{0}", "a\u{1F}@b", "a@\u{A0}b", "a\n@b",
        ])
    func refuses(_ text: String) {
        #expect(EmailAddress(text) == nil)
    }

    @Test("An address has at most 254 characters")
    func length() {
        let domain = "@example.org"
        #expect(EmailAddress(String(repeating: "a", count: 254 - domain.count) + domain) != nil)
        #expect(EmailAddress(String(repeating: "a", count: 255 - domain.count) + domain) == nil)
    }

    @Test(
        "An address that is not in the normal form NFC is refused, and never becomes another one",
        arguments: [
            // The Kelvin sign, the Ångström sign and the Ohm sign are other letters in NFC.
            "\u{212A}arl@example.org", "\u{212B}sa@example.org", "\u{2126}@example.org", "e\u{301}va@example.org",
            "karl@\u{212A}.example",
        ])
    func unnormalised(_ text: String) {
        #expect(EmailAddress(text) == nil)
    }

    @Test("Letters whose lower case is an ASCII letter, or several letters, stay different addresses")
    func distinct() throws {
        let addresses = try [
            "karl@e.org", "ﬁn@e.org", "fin@e.org", "İ@e.org", "i@e.org", "ı@e.org", "ẞ@e.org", "ß@e.org", "ss@e.org",
            "ｋarl@e.org", "Σ@e.org", "σ@e.org", "ς@e.org",
        ].map { try #require(EmailAddress($0)) }
        #expect(Set(addresses).count == addresses.count)
    }
}
