import Cage
import Foundation
import Subprocess
import TestSupport
import Testing

/// The budgets of a cage, each by a stage that exceeds it.
@Suite("The budgets of a cage", .deadline) struct CageBudgetTests {
    private static let small = CageBudget(
        processorTime: .seconds(1), addressSpace: 64 << 20, fileSize: 1 << 20, descriptors: 32, processes: 24,
        stack: 1 << 20)

    @Test("Each process has the limits of its budget, and no core dump", arguments: CageCase.all)
    func limits(each: CageCase) async throws {
        try await CageScene.with { scene in
            let run = try await each.cage.run(
                scene.stage(
                    #"ulimit -Ht; ulimit -Hv; ulimit -Hf; ulimit -Hn; ulimit -Hs; ulimit -Hc; cat /proc/$$/oom_score_adj"#,
                    budget: Self.small))
            let lines = run.output.split(separator: "\n").map(String.init)
            #expect(lines.prefix(6) == ["1", "65536", "1024", "32", "1024", "0"], "\(run)")
            #expect(lines.last == "1000", "\(run)")
            // Without a user namespace of its own, the limit would count all processes of the Unix user.
            let count = try await each.cage.run(
                scene.stage("grep 'Max processes' < /proc/$$/limits", budget: Self.small))
            let isCounted = count.report.active[.userNamespace] != nil
            #expect(isCounted == each.used.contains(.userNamespace), "\(count)")
            #expect(
                count.output.split(separator: " ").dropFirst(2).prefix(2).allSatisfy { $0 == "24" } == isCounted,
                "\(count)")
            // The kernel hands a dump to the program of core_pattern unless the limit is 1. No limit can be raised from 0.
            let core = try await each.cage.run(scene.stage("grep 'Max core' < /proc/$$/limits", budget: Self.small))
            let values = core.output.split(separator: " ").dropFirst(4).prefix(2)
            #expect(values == ["1", "1"] || values == ["0", "0"] && coreLimit == 0, "\(core)")
        }
    }

    @Test("A stage that uses too much ends", arguments: CageCase.all)
    func excess(each: CageCase) async throws {
        try await CageScene.with { scene in
            let hungry = try await each.cage.run(
                scene.stage(#"exec /usr/bin/perl -e '$x = "a" x (128 << 20); print "HAD IT"'"#, budget: Self.small))
            #expect(hungry.status != .exited(0))
            #expect(hungry.output.isEmpty)
            let busy = try await each.cage.run(scene.stage("while :; do :; done", budget: Self.small))
            // SIGKILL at the hard limit, which is the soft one.
            #expect(busy.status == .signaled(9), "\(busy)")
            let long = try await each.cage.run(
                scene.stage(#"head -c 9000000 /dev/zero > "$TMPDIR/long"; wc -c < "$TMPDIR/long""#, budget: Self.small))
            #expect(long.output.trimmingCharacters(in: .whitespacesAndNewlines) == "1048576", "\(long)")
        }
    }

    /// The kernel counts processes by user namespace.
    ///
    /// Elsewhere a limit would count all processes of the Unix user.
    @Test("A fork bomb stays in its cage, and the host goes on", arguments: CageCase.all)
    func forkBomb(each: CageCase) async throws {
        try await CageScene.with { scene in
            let marker = "cage-\(UUID().uuidString)"
            var command = scene.stage(
                #"for i in $(seq 100); do sleep 600 & done 2>/dev/null; echo begun > "$TMPDIR/begun"; sleep 600"#,
                budget: Self.small)
            command.environment["MARKER"] = marker
            let inspection = try await CageInspection(of: each.cage, in: scene.path("beside"))
            let hasLimit = inspection.isActive(.count)
            #expect(hasLimit == each.used.contains(.userNamespace), "\(inspection)")
            // Without the limit, the processes are many. They end with the cage all the same.
            if !hasLimit { command.environment["MANY"] = "1" }
            let run = try await each.cage.run(command) { launch, _ in
                try await eventually("the bomb") {
                    let count = processes(with: marker).count
                    return hasLimit ? count >= 15 : count > 90
                }
                if hasLimit { #expect(processes(with: marker).count <= Self.small.processes) }
                launch.end()
            }
            #expect(run.status == .signaled(9) || hasLimit, "\(run)")
            try await eventually("the end of the bomb") { processes(with: marker).isEmpty }
        }
    }

    @Test("A program gets no descriptor of the worker", arguments: CageCase.all)
    func descriptors(each: CageCase) async throws {
        try await CageScene.with { scene in
            let run = try await each.cage.run(
                scene.stage(#"exec /usr/bin/perl -e 'for (3..64) { print "$_\n" if open(my $file, "<&=", $_) }'"#))
            #expect(run.output.isEmpty, "\(run)")
            let input = try await each.cage.run(scene.stage("cat; echo end of input"))
            #expect(input.output == "end of input\n")
        }
    }

    @Test("A program that is missing, and one that cannot be executed, are reported")
    func missing() async throws {
        try await CageScene.with { scene in
            let cage = CageCase(caller: geteuid() == 0 ? .root : .user, used: .all).cage
            var command = scene.stage("")
            command.program = "no-such-program"
            let missing = try await cage.run(command)
            #expect(missing.report.failure == .program(errno: ENOENT))
            command.program = "/etc/passwd"
            let refused = try await cage.run(command)
            #expect(refused.report.failure == .program(errno: EACCES))
            command.program = scene.path("uploads/other")
            let hidden = try await cage.run(command)
            #expect(hidden.report.failure == .program(errno: ENOENT))
        }
    }

    @Test("A program does not start without a mechanism that is required", arguments: CageMechanism.allCases)
    func required(mechanism: CageMechanism) async throws {
        try await CageScene.with { scene in
            var cage = CageCase(caller: .user, used: .all.subtracting([mechanism])).cage
            cage.required = [mechanism]
            let run = try await cage.run(scene.stage(#"echo ran; touch "$TMPDIR/ran""#))
            #expect(run.output.isEmpty)
            #expect(run.status == .exited(71))
            #expect(run.report.failure == .cage(mechanism, errno: EPERM))
            #expect(!FileManager.default.fileExists(atPath: scene.path("own/ran")))
        }
    }
}

/// The hard limit of core dumps of this process.
private var coreLimit: UInt {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit)
    return UInt(limit.rlim_max)
}
