import Foundation
import TestSupport
import Testing

/// The clients in JavaScript and Python against the server that misbehaves.
@Suite(.deadline) struct ClientProgramTests {
    private static let folder = MisbehavingServer.folder

    @Test("client.js passes the table of cases, by each of its transports")
    func javaScript() async throws {
        try await MisbehavingServer.with { server in
            let client = packageRoot.appending(path: "Sources/HTTPAPI/Web/Assets/client.js").path(percentEncoded: false)
            let run = try await runProgram(
                "/usr/bin/node",
                ["\(Self.folder)/cases.mjs", client, MisbehavingServer.cases, String(server.port)],
                environment: MisbehavingServer.slowness)
            #expect(run.status == 0, "\(run.output)\(run.errorOutput)")
        }
    }

    @Test("The Python client passes the table of cases, by its generator and its asynchronous iterator")
    func python() async throws {
        try await MisbehavingServer.with { server in
            let run = try await runProgram(
                "/usr/bin/python3", ["\(Self.folder)/cases.py", MisbehavingServer.cases, String(server.port)],
                environment: MisbehavingServer.slowness)
            #expect(run.status == 0, "\(run.output)\(run.errorOutput)")
        }
    }
}
