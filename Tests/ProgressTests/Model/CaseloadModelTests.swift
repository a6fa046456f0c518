import Testing

@testable import Progress

/// Random histories of commits, early and late, rights, reads and clients who come back, held against what every follower of
/// a caseload is promised: per session versions that strictly rise, every transition told over a chain of connections,
/// nothing from a snapshot without the right, the end of what was shown, and when all is quiet what the database has.
@Suite("The stream of all sessions, whatever happens around it") struct CaseloadModelTests {
    @Test("keeps its promises", arguments: CaseloadWorld.Manner.allCases, 0..<8)
    func histories(manner: CaseloadWorld.Manner, batch: UInt64) async {
        for seed in (batch * 150)..<(batch * 150 + 150) {
            var world = CaseloadWorld(seed: seed, manner: manner)
            for _ in 0..<400 where !world.isBroken { world.step() }
            world.settle()
            world.checkTheEnd()
            // The tests of time wait for a turn.
            await Task.yield()
        }
    }
}
