import Testing

@testable import Progress

/// Random histories of commits, hints, rights, reads and clients. Each watcher must get what the hub promises:
///
/// - versions that strictly rise;
/// - every transition after its snapshot, once and in order;
/// - no state from a database snapshot without the right;
/// - one last message, and nothing after it;
/// - the newest state, once the history has settled.
@Suite("Hub, in random histories") struct HubModelTests {
    @Test("The hub keeps its promises", arguments: HintDelivery.allCases, 0..<8)
    func histories(delivery: HintDelivery, batch: UInt64) async {
        for seed in (batch * 150)..<(batch * 150 + 150) {
            var world = HubWorld(seed: seed, delivery: delivery)
            world.run()
            // Let the tests that measure time run.
            await Task.yield()
        }
    }
}
