import Testing

@testable import Progress

/// Random histories of commits, rights, reads and clients that reconnect. Each follower must get what the hub promises:
///
/// - for each session, versions that strictly rise;
/// - every transition, over a chain of connections;
/// - no state from a database snapshot without the right;
/// - the removal of each session that was shown;
/// - what the database contains, once the history has settled.
@Suite("Stream of all sessions, in random histories") struct CaseloadModelTests {
    @Test("The hub keeps its promises to followers", arguments: [HintDelivery.lossy, .lossless], 0..<8)
    func histories(delivery: HintDelivery, batch: UInt64) async {
        for seed in (batch * 150)..<(batch * 150 + 150) {
            var world = CaseloadWorld(seed: seed, delivery: delivery)
            world.run()
            // Let the tests that measure time run.
            await Task.yield()
        }
    }
}
