import Testing

@testable import Progress

/// Random histories of commits, hints, rights, reads and clients, held against what every watcher is promised: versions that
/// strictly rise, every transition after its snapshot once and in order, nothing from a snapshot without the right, one end
/// and nothing after it, and when all is quiet the newest state.
@Suite("The hub, whatever happens around it") struct HubModelTests {
    @Test("keeps its promises", arguments: HubWorld.Manner.allCases, 0..<8)
    func histories(manner: HubWorld.Manner, batch: UInt64) async {
        for seed in (batch * 150)..<(batch * 150 + 150) {
            var world = HubWorld(seed: seed, manner: manner)
            for _ in 0..<400 where !world.isBroken { world.step() }
            world.settle()
            world.checkTheEnd()
            // The tests of time wait for a turn.
            await Task.yield()
        }
    }
}
