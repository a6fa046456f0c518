import Domain
import Testing

@Suite struct EmailAddressTests {
    @Test(
        "An address is trimmed and lower-case",
        arguments: [
            ("a@b", "a@b"), ("  Ada@Example.ORG\n", "ada@example.org"),
            ("o'hara+x@example.org", "o'hara+x@example.org"),
            ("ÄRZTIN@example.org", "ärztin@example.org"),
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
}
