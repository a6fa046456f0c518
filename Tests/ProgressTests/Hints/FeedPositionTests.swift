import Testing

@testable import Store

/// A client gets a position as an `id:` and sends it back.
///
/// The server does not trust it.
@Suite("Position in the stream of all sessions") struct FeedPositionTests {
    @Test(
        "A position survives a round trip through its id", arguments: ["10:10:", "10:12:10", "10:20:10,13,19", "3:3:"])
    func roundTrip(snapshot: String) throws {
        let position = FeedPosition(snapshot: snapshot)
        #expect(position.id.wholeMatch(of: /[0-9.]{1,128}/) != nil)
        #expect(FeedPosition(id: position.id) == position)
    }

    @Test("With too many transactions in progress, the id names the oldest, and a client misses nothing")
    func tooMany() throws {
        let inProgress = (1_000_000..<1_000_040).map(String.init).joined(separator: ",")
        let position = FeedPosition(snapshot: "1000000:1000050:\(inProgress)")
        #expect(position.id == "1000000.1000000")
        let parsed = try #require(FeedPosition(id: position.id))
        for transaction in Int64(999_990)..<1_000_060 where parsed.shows(transaction) {
            #expect(position.shows(transaction))
        }
    }

    @Test(
        "An id that PostgreSQL would not accept is refused",
        arguments: [
            "", ".", "7", "7.", ".7", "a.b", "2.5", "5.4", "5.9.4", "5.9.9", "5.9.7.6", "5.9.7.7", "5.9.7.", "-5.9",
            "5.+9", "5,9", "5:9:", "５.９", "99999999999999999999.99999999999999999999", " 5.9", "5..9",
            "5.9.\(String(repeating: "0", count: 128))7",
        ])
    func refused(id: String) { #expect(FeedPosition(id: id) == nil) }

    @Test("A position shows what was committed before it, and not what was in progress")
    func shows() {
        let position = FeedPosition(snapshot: "10:20:10,13")
        #expect((7...21).filter { position.shows($0) } == [7, 8, 9, 11, 12, 14, 15, 16, 17, 18, 19])
        #expect((8...11).filter { FeedPosition(snapshot: "10:10:").shows($0) } == [8, 9])
    }
}
