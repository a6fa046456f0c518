import Cage
import Foundation
import Subprocess
import TestSupport
import Testing

/// A stage that tries everything, under each combination of mechanisms.
///
/// A layer counts as present only if the trial of ``CageInspection`` says so. Then every attempt of these stages has to fail.
/// The stages here know nothing of the trial: they are shell scripts.
@Suite("Attempts to leave a cage", .deadline) struct CageEscapeTests {
    /// Tries the same cage, as `therapybridge cage` does.
    private func inspection(of each: CageCase, in scene: CageScene) async throws -> CageInspection {
        try await CageInspection(of: each.cage, in: scene.path("beside"))
    }

    @Test("A stage reads its own recording and the programs of the host", arguments: CageCase.all)
    func readsItsOwn(each: CageCase) async throws {
        try await CageScene.with { scene in
            let run = try await each.cage.run(
                scene.stage(#"cat "$1" "$2/beside/library"; echo own > "$TMPDIR/file"; cat "$TMPDIR/file"; pwd; id -u"#)
            )
            #expect(run.status == .exited(0), "\(run)")
            let lines = run.output.split(separator: "\n").map(String.init)
            #expect(
                lines == [
                    "the words of uploads/mine", "the words of beside/library", "own", scene.path("own"),
                    geteuid() == 0 ? "65534" : "\(geteuid())",
                ], "\(run)")
        }
    }

    @Test("No stage reads another recording or a secret, lists them, or changes anything", arguments: CageCase.all)
    func readsNothingElse(each: CageCase) async throws {
        try await CageScene.with { scene in
            let inspection = try await inspection(of: each, in: scene)
            // Landlock and namespaces are each enough. A kernel that has one of them has this layer.
            let hasMechanism = !inspection.mechanisms.isDisjoint(with: [.landlock, .mountNamespace])
            #expect(inspection.isActive(.files) == hasMechanism)
            try #require(
                hasMechanism || each.used.isDisjoint(with: [.landlock, .mountNamespace]),
                "this kernel has neither Landlock nor user namespaces: the layer is not tested here")
            guard hasMechanism else { return }
            let run = try await each.cage.run(
                scene.stage(
                    #"""
                    cat "$2/uploads/other" "$2/secret" "$1/../other" && echo READ
                    cat /proc/[0-9]*/root"$2"/uploads/other /proc/[0-9]*/cwd/../uploads/other && echo READ
                    ls "$2/uploads" | grep other && echo LISTED
                    ln "$2/uploads/other" "$TMPDIR/link" && cat "$TMPDIR/link" && echo READ
                    ln -s "$2/uploads/other" "$TMPDIR/soft"; cat "$TMPDIR/soft" && echo READ
                    echo changed > "$1" && echo WROTE
                    echo changed > "$2/uploads/other" && echo WROTE
                    echo changed > "$2/beside/library" && echo WROTE
                    echo new > "$2/beside/new" && echo WROTE
                    rm -f "$2/beside/library" && [ ! -e "$2/beside/library" ] && echo WROTE
                    mv "$2/beside" "$2/moved" && echo WROTE
                    echo new > /tmp/new-$$ && echo WROTE
                    echo new > /dev/shm/new-$$ && echo WROTE
                    mknod "$TMPDIR/zero" c 1 5 && echo WROTE
                    chmod 000 "$1" "$2/uploads/other" "$2/beside/library"
                    touch -d 2001-01-01 "$2/beside/library"
                    echo tried
                    """#))
            #expect(run.output == "tried\n", "\(run)")
            #expect(
                try String(contentsOfFile: scene.path("uploads/other"), encoding: .utf8)
                    == "the words of uploads/other\n")
            for name in ["uploads/mine", "uploads/other", "beside/library"] {
                let attributes = try FileManager.default.attributesOfItem(atPath: scene.path(name))
                #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o666, "\(name)")
                #expect(
                    try #require(attributes[.modificationDate] as? Date) > Date(timeIntervalSinceNow: -3_600), "\(name)"
                )
            }
        }
    }

    @Test("No stage sees, signals or traces a process outside", arguments: CageCase.all)
    func touchesNoProcess(each: CageCase) async throws {
        try await CageScene.with { scene in
            let inspection = try await inspection(of: each, in: scene)
            // A witness of the same Unix user as the stage.
            let account = CageAccount(user: geteuid() == 0 ? 65_534 : geteuid(), group: 65_534)
            let witness = try await Witness(account)
            defer { witness.end() }
            let run = try await each.cage.run(
                scene.stage(
                    #"""
                    n=\#(witness.number)
                    cat /proc/$n/environ /proc/$n/cmdline 2>/dev/null | grep -a witness && echo SEEN
                    cat /proc/*/environ 2>/dev/null | grep -az 'DATABASE_URL\|witness' && echo SEEN
                    kill -STOP $n && echo SIGNALLED
                    kill -9 $n && echo SIGNALLED
                    echo tried
                    """#))
            let isWhole = !run.output.contains("SEEN") && !run.output.contains("SIGNALLED") && witness.isAlive
            if inspection.isActive(.processes) { #expect(isWhole, "\(run)") }
            if !inspection.mechanisms.isDisjoint(with: [.processNamespace]) { #expect(inspection.isActive(.processes)) }
            // Landlock before version 6 does not check signals: then the trial must not claim the layer.
            if !isWhole { #expect(!inspection.isActive(.processes)) }
            // Without the layer, this would end every process of the user on this machine.
            guard inspection.isActive(.processes) else { return }
            _ = try await each.cage.run(scene.stage("kill -9 -1; exit 0"))
            #expect(witness.isAlive)
        }
    }

    /// Landlock does not check these questions.
    ///
    /// The threat model says so.
    @Test(
        "Only a view hides whether a file exists, and only a process namespace whether a process does",
        arguments: CageCase.all)
    func asks(each: CageCase) async throws {
        try await CageScene.with { scene in
            let witness = try await Witness(CageAccount(user: geteuid() == 0 ? 65_534 : geteuid(), group: 65_534))
            defer { witness.end() }
            let run = try await each.cage.run(
                scene.stage(
                    #"""
                    stat "$2/uploads/other" > /dev/null && echo file
                    kill -0 \#(witness.number) 2>&1 | grep 'No such process' > /dev/null || echo process
                    """#))
            let lines = run.output.split(separator: "\n")
            #expect(lines.contains("file") == (run.report.active[.mountNamespace] == nil), "\(run)")
            #expect(lines.contains("process") == (run.report.active[.processNamespace] == nil), "\(run)")
        }
    }

    @Test("A stage without a network reaches no server, and one with a network does", arguments: CageCase.all)
    func reachesNoServer(each: CageCase) async throws {
        try await CageScene.with { scene in
            let inspection = try await inspection(of: each, in: scene)
            let (socket, port) = try listenOnLoopback()
            defer { close(socket) }
            var command = scene.stage("exec 3<>/dev/tcp/127.0.0.1/\(port) && echo REACHED; exit 0")
            let closed = try await each.cage.run(command)
            #expect(inspection.isActive(.network))
            #expect(closed.output.isEmpty, "\(closed)")
            command.hasNetwork = true
            let open = try await each.cage.run(command)
            #expect(open.output == "REACHED\n")
        }
    }

    /// A peer on a socket of the Unix domain may trust the stage's Unix user, as PostgreSQL does.
    @Test("No stage connects to a socket of the Unix domain", arguments: CageCase.all)
    func reachesNoLocalSocket(each: CageCase) async throws {
        try await CageScene.with { scene in
            var command = CagedCommand(
                "/usr/bin/perl",
                ["-e", #"use Socket; print socket(my $s, PF_UNIX, SOCK_STREAM, 0) ? "OPENED" : "refused""#],
                budget: .site(processorTime: .seconds(60), addressSpace: nil))
            command.view = .host(hiding: [scene.path("uploads")])
            command.hasNetwork = true
            let attempt = try await each.cage.run(command)
            #expect(attempt.output == "refused")
        }
    }
}
