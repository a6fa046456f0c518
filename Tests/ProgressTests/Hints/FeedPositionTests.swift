import Testing

@testable import Store

/// A client gets a position as an `id:` and sends it back.
///
/// The server does not trust it.
@Suite("Position in the stream of all sessions") struct FeedPositionTests {
    private static let timeline = DatabaseTimeline(cluster: 7_713_581_595_092_249_045, number: 2)

    private func position(_ snapshot: String) throws -> FeedPosition {
        FeedPosition(try #require(DatabaseSnapshot(snapshot, on: Self.timeline)))
    }

    @Test(
        "A position survives a round trip through its id", arguments: ["10:10:", "10:12:10", "10:20:10,13,19", "3:3:"])
    func roundTrip(snapshot: String) throws {
        let position = try position(snapshot)
        #expect(position.snapshot.text == snapshot)
        #expect(position.id.wholeMatch(of: /[0-9.]{1,128}/) != nil)
        #expect(FeedPosition(id: position.id) == position)
    }

    @Test("With too many transactions in progress, the id names the oldest, and a client misses nothing")
    func tooMany() throws {
        let inProgress = (1_000_000..<1_000_040).map(String.init).joined(separator: ",")
        let position = try position("1000000:1000050:\(inProgress)")
        #expect(position.id == "7713581595092249045.2.1000000.1000000")
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
        ].map { "1.1.\($0)" } + [
            "", "7", "5.9", "1.1.5", "1.99999999999.5.9", "99999999999999999999.1.5.9", "x.1.5.9", "1..5.9",
        ])
    func refused(id: String) { #expect(FeedPosition(id: id) == nil) }

    @Test("A position shows what was committed before it, and not what was in progress")
    func shows() throws {
        let position = try position("10:20:10,13")
        #expect((7...21).filter { position.shows($0) } == [7, 8, 9, 11, 12, 14, 15, 16, 17, 18, 19])
        let settled = try self.position("10:10:")
        #expect((8...11).filter { settled.shows($0) } == [8, 9])
    }

    @Test("Of two snapshots the later one has seen more transactions begin, or fewer in progress")
    func order() throws {
        let snapshots = try ["10:10:", "10:12:10,11", "10:12:10", "12:12:", "12:13:12"].map {
            try position($0).snapshot
        }
        for (index, snapshot) in snapshots.enumerated() {
            #expect(snapshots.map { $0.precedes(snapshot) } == snapshots.indices.map { $0 < index })
        }
    }
}
