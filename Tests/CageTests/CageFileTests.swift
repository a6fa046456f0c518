import CCage
import Cage
import Foundation
import Subprocess
import TestSupport
import Testing

/// Changes of files outside that need no descriptor for writing.
@Suite("Files around a cage", .deadline) struct CageFileTests {
    /// The calls that Landlock does not know.
    private static let calls = ["mode", "owner", "times", "attribute", "no attribute"]

    @Test("No stage changes a file that it may only read", arguments: CageCase.all + CageCase.landlock)
    func changesNothing(each: CageCase) async throws {
        try await CageScene.with { scene in
            let library = try scene.library()
            let run = try await each.cage.run(scene.inspector(["change", library, "lease", library]))
            #expect(run.status == .exited(0))
            // In a view, the file system is read-only. Elsewhere the calls have no effect.
            let outcome = run.report.active[.mountNamespace] != nil ? "EROFS" : "0"
            for call in Self.calls { #expect(run.outcomes(of: call) == [outcome], "\(call): \(run)") }
            for request in ["flags", "project"] {
                #expect(run.outcomes(of: request) == ["ENOTTY"], "\(request): \(run)")
            }
            #expect(run.outcomes(of: "lease") == ["EPERM"], "\(run)")
            let attributes = try FileManager.default.attributesOfItem(atPath: library)
            #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o666)
        }
    }

    /// Landlock before version 3 does not check truncation: Linux 5.13 to 6.1.
    @Test("No stage empties a file that it may only read", arguments: CageCase.landlock)
    func emptiesNothing(each: CageCase) async throws {
        try await CageScene.with { scene in
            let library = try scene.library()
            let run = try await each.cage.run(
                scene.inspector(["empty", library, "read", scene.path("uploads/other")]))
            try #require(run.report.active[.landlock] == each.landlockVersion, "this kernel has no Landlock")
            #expect(run.outcomes(of: "empty") == ["EACCES"], "\(run)")
            #expect(run.outcomes(of: "truncate") == ["EACCES"], "\(run)")
            #expect(run.outcomes(of: "read") == ["EACCES"], "\(run)")
            #expect(try String(contentsOfFile: library, encoding: .utf8) == "the words of beside/library\n")
        }
    }

    /// No flag of a mount keeps a program from writing to a pipe: only Landlock does.
    @Test("With Landlock, no stage writes to a named pipe of the host", arguments: CageCase.all + CageCase.landlock)
    func writesToNoPipe(each: CageCase) async throws {
        guard each.used.contains(.landlock) else { return }
        try await CageScene.with { scene in
            let pipe = scene.path("beside/pipe")
            try #require(mkfifo(pipe, 0o666) == 0)
            try #require(chmod(pipe, 0o666) == 0)
            let run = try await each.cage.run(scene.inspector(["pipe", pipe]))
            try #require(run.report.active[.landlock] != nil, "this kernel has no Landlock")
            #expect(run.outcomes(of: "pipe") == ["EACCES"], "\(run)")
        }
    }

    @Test("A cage starts on a host where no /proc can be mounted", arguments: CageCase.withoutProc)
    func startsWithoutProc(each: CageCase) async throws {
        try await CageScene.with { scene in
            let run = try await each.cage.run(scene.stage(#"echo ran; cat /proc/cpuinfo > /dev/null && echo read"#))
            #expect(run.report.failure == nil)
            #expect(run.output == "ran\nread\n", "\(run)")
            #expect(run.report.active[.userNamespace] != nil)
        }
    }

    /// Few programs work without one: the arguments of a Swift program are in `/proc/self/cmdline`.
    @Test("A worker takes Landlock instead of a view without a /proc, and such a view where there is no Landlock")
    func prefersLandlock() async throws {
        try await CageScene.with { scene in
            var cage = CageCase(caller: geteuid() == 0 ? .root : .user, used: .all.subtracting([.proc])).cage
            let both = try await CageInspection.strongest(from: cage, in: scene.path("beside"))
            try #require(both.inspection.mechanisms.contains(.landlock), "this kernel has no Landlock")
            #expect(!both.cage.used.contains(.mountNamespace))
            #expect(both.inspection.keepsRecordingsApart)
            #expect(both.inspection.isActive(.processes))
            cage.used.remove(.landlock)
            let view = try await CageInspection.strongest(from: cage, in: scene.path("beside"))
            #expect(view.inspection.mechanisms.contains(.mountNamespace))
            #expect(view.inspection.keepsRecordingsApart)
        }
    }
}
