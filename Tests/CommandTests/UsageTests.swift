import PostgresTestSupport
import TestSupport
import Testing

/// Exit statuses and outputs of commands without a database.
@Suite(.serialized, .deadline) struct UsageTests {
    @Test(
        "Wrong usage gives status 64, a message on standard error, and no standard output",
        arguments: [
            ["bogus"], ["serve", "--bogus"], ["serve", "extra"], ["migrate", "down"], ["migrate", "up", "--bogus"],
            ["user", "add"], ["user", "add", "--email", "a@b.example", "--name", "A", "--role", "king"],
            ["user", "deactivate"], ["assign", "--therapist", "a@b.example"], ["unassign"], ["token"],
            ["token", "--email", "a@b.example", "--ttl", "0"], ["token", "--email", "a@b.example", "--ttl", "soon"],
            ["transcribe"], ["transcribe", "a", "b"],
        ])
    func wrongUsage(arguments: [String]) async throws {
        let run = try await runProgram(builtProgram, arguments)
        #expect(run.status == 64)
        #expect(run.output == "")
        #expect(!run.errorOutput.isEmpty)
    }

    @Test(
        "Help goes to standard output with status 0",
        arguments: [["--help"], ["help", "serve"], ["migrate", "up", "--help"]])
    func help(arguments: [String]) async throws {
        let run = try await runProgram(builtProgram, arguments)
        #expect(run.status == 0)
        #expect(run.output.contains("USAGE: therapybridge"))
        #expect(run.errorOutput == "")
    }

    @Test("`transcribe` of a missing file gives status 1, an error line for a therapist, and no result")
    func transcribeNothing() async throws {
        let run = try await Program().run("transcribe", "/nowhere/recording.wav")
        #expect(run.status == 1)
        #expect(run.output == #"{"error":"The recording could not be read as audio."}"# + "\n")
        #expect(run.errorLines.last?.isEmpty == false)
        #expect(run.errorLines.last?.contains("/nowhere") == false)
    }
}
