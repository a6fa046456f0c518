import Testing

@testable import Progress

/// When the hub reads the log of rights by itself.
@Suite("Reads of the log of rights") final class RightsReadTests {
    private var reads = RightsReads()
    private let start = ContinuousClock.now

    private func begins() -> Bool { reads.nextRead() }

    /// The first read has succeeded.
    init() {
        _ = reads.nextRead()
        reads.completed(foundChanges: false, at: start)
    }

    @Test("The hub reads the log at its start")
    func first() {
        reads = RightsReads()
        #expect(begins())
        #expect(!begins())
    }

    @Test("After a hint the hub reads at once, and twice more, because a commit at the same moment gives no hint")
    func hint() {
        #expect(!begins())
        reads.hint()
        #expect(begins())
        reads.completed(foundChanges: false, at: start)
        #expect(reads.due == start + .milliseconds(20))
        #expect(!begins())
        reads.timeIs(start + .milliseconds(20))
        #expect(begins())
        reads.completed(foundChanges: false, at: start + .milliseconds(21))
        #expect(reads.due == start + .milliseconds(121))
        reads.timeIs(start + .milliseconds(121))
        #expect(begins())
        reads.completed(foundChanges: false, at: start + .milliseconds(122))
        #expect(reads.due == nil)
        #expect(!begins())
    }

    @Test("While a read finds changes, the next one follows soon")
    func changes() {
        reads.hint()
        for _ in 0..<5 {
            #expect(begins())
            reads.completed(foundChanges: true, at: start)
            #expect(reads.due == start + .milliseconds(20))
            reads.timeIs(start + .milliseconds(20))
        }
    }

    @Test("Many hints cause one read in 20 ms")
    func manyHints() {
        reads.hint()
        #expect(begins())
        reads.hint()
        reads.completed(foundChanges: true, at: start)
        reads.hint()
        #expect(!begins())
        reads.timeIs(start + .milliseconds(20))
        #expect(begins())
    }

    @Test("A failed read is repeated")
    func failed() {
        reads.hint()
        #expect(begins())
        reads.failed()
        #expect(begins())
    }
}
