import Credentials
import Testing

@Suite struct StreamTicketTests {
    @Test("A ticket has 43 characters that a URL can hold unchanged, and is never the same twice")
    func text() {
        let texts = (0..<1000).map { _ in StreamTicket().text }
        #expect(Set(texts).count == 1000)
        for text in texts {
            #expect(text.wholeMatch(of: /[A-Za-z0-9_-]{43}/) != nil)
            #expect(StreamTicket(text)?.hash == RefreshToken.hash(of: text))
        }
    }

    @Test(
        "Text that cannot be a ticket is refused",
        arguments: [
            "", "x", String(repeating: "x", count: 42), String(repeating: "x", count: 44),
            String(repeating: "x", count: 42) + "=", String(repeating: "x", count: 42) + "/",
            String(repeating: "x", count: 42) + "\0", String(repeating: "ä", count: 43),
            String(repeating: "x", count: 1_000_000),
        ])
    func impossible(text: String) {
        #expect(StreamTicket(text) == nil)
    }
}
