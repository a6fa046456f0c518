import Cage
import Foundation
import Subprocess
import TestSupport
import Testing

/// Every way in which a cage ends, and that nothing outlives it.
@Suite("The end of a cage", .deadline) struct CageEndTests {
    /// A stage with children that ignore SIGTERM, have sessions of their own, and have lost their parent.
    private static let tree = #"""
        trap '' TERM
        (setsid sleep 600 &)
        (setsid bash -c 'trap "" TERM HUP; sleep 601; sleep 602' &)
        echo begun > "$TMPDIR/begun"
        sleep 603; sleep 604
        """#

    /// What ends the launcher.
    enum Cause: String, CaseIterable, Sendable { case endOfWorker, SIGTERM, SIGKILL, worker }

    @Test("Nothing outlives a cage", arguments: CageCase.all, [Cause.endOfWorker, .SIGTERM, .SIGKILL])
    func leavesNothing(each: CageCase, cause: Cause) async throws {
        try await CageScene.with { scene in
            LeftOvers.adoptOrphans()
            let marker = "cage-\(UUID().uuidString)"
            var command = scene.stage(Self.tree)
            command.environment["MARKER"] = marker
            let run = try await each.cage.run(command) { launch, launcher in
                try await eventually("the start of the stage") {
                    FileManager.default.fileExists(atPath: scene.path("own/begun"))
                        && processes(with: marker).count >= 4
                }
                switch cause {
                case .endOfWorker, .worker: launch.end()
                case .SIGTERM: kill(launcher, SIGTERM)
                case .SIGKILL: kill(launcher, SIGKILL)
                }
            }
            // The stage did not end by itself.
            #expect(run.status == .signaled(9), "\(run)")
            if cause == .SIGKILL {
                // The launcher could not kill anything. The worker looks for what it left.
                try await eventually("the death of what a launcher left") {
                    LeftOvers.kill(account: CageAccount(user: geteuid() == 0 ? 65_534 : geteuid(), group: 0))
                    return processes(with: marker).isEmpty
                }
            } else {
                // SIGKILL was sent to each process, and the launcher has waited for each.
                #expect(processes(with: marker).isEmpty)
            }
        }
    }

    @Test("A stage ends politely in its grace", arguments: CageCase.all)
    func isPolite(each: CageCase) async throws {
        try await CageScene.with { scene in
            var command = scene.stage(
                #"trap 'echo bye; exit 7' TERM; echo begun > "$TMPDIR/begun"; while :; do sleep 0.05; done"#)
            command.grace = TestDeadline.event
            let run = try await each.cage.run(command) { _, launcher in
                try await eventually("the start of the stage") {
                    FileManager.default.fileExists(atPath: scene.path("own/begun"))
                }
                kill(launcher, SIGTERM)
            }
            #expect(run.output == "bye\n")
            #expect(run.status == .exited(7))
        }
    }

    @Test("The launcher ends as its stage has ended, and takes what it started along", arguments: CageCase.all)
    func passesTheEndOn(each: CageCase) async throws {
        try await CageScene.with { scene in
            let marker = "cage-\(UUID().uuidString)"
            var command = scene.stage("(setsid sleep 600 &); exit 75")
            command.environment["MARKER"] = marker
            let exited = try await each.cage.run(command)
            #expect(exited.status == .exited(75))
            #expect(processes(with: marker).isEmpty)
            let aborted = try await each.cage.run(scene.stage("kill -ABRT $$"))
            #expect(aborted.status == .signaled(6))
        }
    }

    @Test("A stage that kills its launcher dies with it", arguments: CageCase.all)
    func cannotFreeItself(each: CageCase) async throws {
        try await CageScene.with { scene in
            LeftOvers.adoptOrphans()
            let marker = "cage-\(UUID().uuidString)"
            var command = scene.stage(
                #"(setsid sleep 600 &); echo begun > "$TMPDIR/begun"; kill -9 $PPID; sleep 605"#)
            command.environment["MARKER"] = marker
            let cage = each.cage
            let run = try await cage.run(command) { launch, _ in
                try await eventually("the attempt of the stage") {
                    FileManager.default.fileExists(atPath: scene.path("own/begun"))
                }
                // If the signal did not arrive, the worker ends the cage.
                launch.end()
            }
            #expect(run.status == .signaled(9))
            try await eventually("the death of the stage's processes") {
                LeftOvers.kill(account: CageAccount(user: geteuid() == 0 ? 65_534 : geteuid(), group: 0))
                return processes(with: marker).isEmpty
            }
        }
    }

    @Test("The search for left-over processes spares the stages of a living launcher", arguments: CageCase.all)
    func sparesTheLiving(each: CageCase) async throws {
        try await CageScene.with { scene in
            let run = try await each.cage.run(
                scene.stage(#"echo begun > "$TMPDIR/begun"; (sleep 0.2; echo child); echo whole"#)
            ) { _, _ in
                try await eventually("the start of the stage") {
                    FileManager.default.fileExists(atPath: scene.path("own/begun"))
                }
                LeftOvers.kill(account: CageAccount(user: geteuid() == 0 ? 65_534 : geteuid(), group: 0))
            }
            #expect(run.output == "child\nwhole\n", "\(run)")
        }
    }
}
