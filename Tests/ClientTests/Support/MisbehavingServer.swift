import Foundation
import Subprocess
import SystemPackage
import TestSupport

/// The server of `Tests/Clients/misbehaving_server.py`, which follows the scripts of the cases.
struct MisbehavingServer: Sendable {
    /// The folder with the cases, the server and the programs that run the cases.
    static let folder = packageRoot.appending(path: "Tests/Clients").path(percentEncoded: false)
    static let cases = "\(folder)/cases.json"

    /// The factor for a slow machine, for the server's pauses and the programs' watchdogs.
    static let slowness = ["TEST_SLOWNESS": String(TestDeadline.slowness)]

    let port: Int

    /// The base URL for one run of a case.
    ///
    /// Each run has its own state.
    func baseURL(_ run: String) -> String { "http://127.0.0.1:\(port)/\(run)" }

    /// Lends a server.
    static func with<Result: Sendable>(
        _ body: @escaping @Sendable (MisbehavingServer) async throws -> Result
    ) async throws -> Result {
        let output = FileManager.default.temporaryDirectory.appending(path: "tb-misbehaving-\(UUID())")
        defer { try? FileManager.default.removeItem(at: output) }
        let file = try FileDescriptor.open(
            FilePath(output.path(percentEncoded: false)), .writeOnly, options: .create, permissions: .ownerReadWrite)
        return try await Subprocess.run(
            .path("/usr/bin/python3"), arguments: ["\(folder)/misbehaving_server.py", cases],
            environment: .custom(programEnvironment(Self.slowness)), input: .inputWriter,
            output: .fileDescriptor(file, closeAfterSpawningProcess: true), error: .discarded
        ) { execution in
            defer { try? execution.send(signal: .kill) }
            var port: Int?
            try await eventually("the port of the server") {
                let text = try String(contentsOf: output, encoding: .utf8)
                port = text.hasSuffix("\n") ? Int(text.dropLast()) : nil
                return port != nil
            }
            return try await body(MisbehavingServer(port: port ?? 0))
        }.closureResult
    }
}
