import Foundation
import LocalPostgres

/// The other installed servers, for comparison.
struct Peers: Sendable {
    /// nginx with nchan, or nil if it is not installed.
    var nchan: NchanPeer?
    /// FastAPI, uvicorn and sse-starlette in a Python virtual environment, or nil if they are not installed.
    var fastAPI: FastAPIPeer?

    /// Finds the installed peers.
    ///
    /// The Python packages are in the given virtual environment.
    static func find(pythonEnvironment: String) async -> Peers {
        Peers(nchan: await NchanPeer.find(), fastAPI: await FastAPIPeer.find(environment: pythonEnvironment))
    }

    /// The names and versions of the peers, or a note that a peer is missing.
    var descriptions: [String] {
        [
            nchan?.description ?? "no nchan (nginx and libnginx-mod-nchan are not installed)",
            fastAPI?.description ?? "no FastAPI (it is not installed)",
        ]
    }
}

/// A running peer.
struct RunningPeer: Sendable {
    let process: ServerProcess
    let port: Int

    var figures: ProcessFigures { ProcessFigures(processID: process.processID) }
}

/// nginx with nchan.
///
/// It receives messages by HTTP and sends them to all subscribers, without authorization.
struct NchanPeer: Sendable {
    let description: String

    private static let program = "/usr/sbin/nginx"

    fileprivate static func find() async -> NchanPeer? {
        guard FileManager.default.isExecutableFile(atPath: program),
            let nginx = try? await runToEnd("dpkg-query", ["-W", "-f=${Version}", "nginx"]),
            let nchan = try? await runToEnd("dpkg-query", ["-W", "-f=${Version}", "libnginx-mod-nchan"])
        else { return nil }
        return NchanPeer(description: "nginx \(nginx) with nchan \(nchan)")
    }

    /// Starts nginx, lends it and ends it.
    func lend<Result: Sendable>(
        in scratch: ScratchDirectory, descriptors: Int, _ body: (RunningPeer) async throws -> Result
    ) async throws -> Result {
        let port = try freePort()
        let folder = try scratch.makeFolder("nginx")
        let template = String(decoding: EmbeddedFiles.all["nchan.conf"] ?? Data(), as: UTF8.self)
        let configuration = template.replacing("@PORT@", with: "\(port)")
            .replacing("@DESCRIPTORS@", with: "\(descriptors)")
        let file = try scratch.write(Data(configuration.utf8), to: "nginx/nchan.conf")
        return try await ServerProcess.lend(
            Self.program, ["-p", folder, "-e", "stderr", "-c", file], log: scratch.path("nginx.log")
        ) { process in
            // nginx is ready when it accepts a message.
            try await process.wait {
                (try? await post(port: port, "/pub/ready", "{}")).map { (200..<300).contains($0.status) } ?? false
            }
            return try await body(RunningPeer(process: process, port: port))
        }
    }
}

/// A Python server with two designs: polling, as in the service that this one replaces, and push.
struct FastAPIPeer: Sendable {
    let description: String
    fileprivate let environment: String

    fileprivate static func find(environment: String) async -> FastAPIPeer? {
        let packages = ["fastapi", "uvicorn", "sse-starlette"]
        let script = """
            from importlib.metadata import version
            print(*(f"{name} {version(name)}" for name in \(packages)), sep=", ")
            """
        guard let versions = try? await runToEnd("\(environment)/bin/python", ["-c", script]) else { return nil }
        return FastAPIPeer(
            description: versions.trimmingCharacters(in: .whitespacesAndNewlines), environment: environment)
    }

    /// Starts uvicorn, lends it and ends it.
    func lend<Result: Sendable>(
        in scratch: ScratchDirectory, _ body: (RunningPeer) async throws -> Result
    ) async throws -> Result {
        let port = try freePort()
        let folder = try scratch.makeFolder("fastapi")
        _ = try scratch.write(EmbeddedFiles.all["fastapi_peer.py"] ?? Data(), to: "fastapi/fastapi_peer.py")
        return try await ServerProcess.lend(
            "\(environment)/bin/python",
            [
                "-m", "uvicorn", "fastapi_peer:app", "--app-dir", folder, "--port", "\(port)", "--no-access-log",
                "--backlog", "4096", "--timeout-graceful-shutdown", "1",
            ],
            log: scratch.path("fastapi.log")
        ) { process in
            try await process.wait { await answers(port: port, "/openapi.json") }
            return try await body(RunningPeer(process: process, port: port))
        }
    }
}
