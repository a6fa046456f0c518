import Cage
import Foundation
import Testing

@testable import Pipeline

/// A program that is missing is told before a session needs it.
@Suite struct ProgramCheckTests {
    private func withFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
        let folder = FileManager.default.temporaryDirectory.path + "/\(UUID())"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        return try body(folder)
    }

    private func write(_ file: String, _ text: String, mode: Int) throws {
        try Data(text.utf8).write(to: URL(filePath: file))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: file)
    }

    @Test("A program that can be started has no fault")
    func findsPrograms() throws {
        let check = ProgramCheck(account: nil, path: "/usr/bin:/bin")
        #expect(check.fault(of: "/bin/sh") == nil)
        #expect(check.fault(of: "sh") == nil)
        try withFolder { folder in
            try write("\(folder)/stage.sh", "#! /bin/sh -e\n", mode: 0o700)
            #expect(check.fault(of: "\(folder)/stage.sh") == nil)
        }
    }

    @Test("A program that is missing, no file, or not executable is named")
    func namesFaults() throws {
        let check = ProgramCheck(account: nil, path: "/usr/bin:/bin")
        #expect(check.fault(of: "/no/such/program") == #""/no/such/program" is not there"#)
        #expect(check.fault(of: "no-such-program") == #""no-such-program" is not there"#)
        #expect(check.fault(of: "/etc") == #""/etc" is no file"#)
        #expect(check.fault(of: "/etc/passwd") == #""/etc/passwd" may not be executed by the account of the stages"#)
    }

    @Test("The interpreter of a script is looked for, too")
    func namesTheInterpreter() throws {
        try withFolder { folder in
            try write("\(folder)/stage.py", "#!/opt/no-such-venv/bin/python -u\n", mode: 0o755)
            #expect(
                ProgramCheck(account: nil, path: nil).fault(of: "\(folder)/stage.py")
                    == "\"/opt/no-such-venv/bin/python\", which the first line of \"\(folder)/stage.py\" names, is not there"
            )
        }
    }

    @Test("What the account of the stages may not execute or reach is named")
    func asksForTheAccount() throws {
        try withFolder { folder in
            let program = "\(folder)/stage.sh"
            try write(program, "#!/bin/sh\n", mode: 0o750)
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: folder)
            let group = try #require(
                try FileManager.default.attributesOfItem(atPath: program)[.groupOwnerAccountID] as? NSNumber)
            let stranger = CageAccount(user: 65_000, group: 65_001)
            let check = ProgramCheck(account: stranger, path: nil)
            #expect(check.fault(of: program)?.hasSuffix("may not be executed by the account of the stages") == true)
            let member = CageAccount(user: 65_000, group: 65_001, groups: [group.uint32Value])
            #expect(ProgramCheck(account: member, path: nil).fault(of: program) == nil)
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: program)
            #expect(check.fault(of: program) == nil)
            try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: folder)
            #expect(check.fault(of: program)?.hasSuffix("the account of the stages may not enter") == true)
        }
    }

    @Test("Each setting has its own fault, and the bundled stage has none")
    func asksForEachStage() throws {
        let stages = PipelineStages(
            measure: try StageCommand("therapybridge measure", setting: "measure", title: "measurement"),
            transcribe: try StageCommand("therapybridge transcribe", setting: "T", title: "transcription"),
            notes: try StageCommand("/no/such/notes --x", setting: "N", title: "notes"),
            program: "/bin/sh", limits: PipelineLimits(), workDirectory: "/tmp")
        #expect(
            stages.programs() == [
                StageProgram(setting: "T", fault: nil),
                StageProgram(setting: "N", fault: #""/no/such/notes" is not there"#),
            ])
    }
}
