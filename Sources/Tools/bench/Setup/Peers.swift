import Foundation
import LocalPostgres

/// The programs that the server is measured beside, as far as they are installed.
struct Peers: Sendable {
    /// nginx with nchan; nil when it is not there.
    var nchan: NchanPeer?
    /// FastAPI, uvicorn and sse-starlette in a virtual environment of Python; nil when they are not there.
    var fastAPI: FastAPIPeer?

    /// Looks for them; the Python ones in the folder of a virtual environment.
    static func find(pythonEnvironment: String) async -> Peers {
        Peers(nchan: await NchanPeer.find(), fastAPI: await FastAPIPeer.find(environment: pythonEnvironment))
    }

    /// What they are, with versions; of those that are missing, that they are.
    var descriptions: [String] {
        [
            nchan?.description ?? "no nchan (nginx and libnginx-mod-nchan are not installed)",
            fastAPI?.description ?? "no FastAPI (it is not installed)",
        ]
    }
}

/// A peer that runs.
struct RunningPeer: Sendable {
    let process: ServerProcess
    let port: Int

    var figures: ProcessFigures { ProcessFigures(processID: process.processID) }
}

/// nginx with nchan: it takes messages by HTTP and hands them to whoever subscribed, without asking who that is.
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
        in workplace: ScratchDirectory, descriptors: Int, _ body: (RunningPeer) async throws -> Result
    ) async throws -> Result {
        let port = try freePort()
        let folder = try workplace.makeFolder("nginx")
        let template = String(decoding: EmbeddedFiles.all["nchan.conf"] ?? Data(), as: UTF8.self)
        let configuration = template.replacing("@PORT@", with: "\(port)")
            .replacing("@DESCRIPTORS@", with: "\(descriptors)")
        let file = try workplace.write(Data(configuration.utf8), to: "nginx/nchan.conf")
        return try await ServerProcess.lend(
            Self.program, ["-p", folder, "-e", "stderr", "-c", file], log: workplace.path("nginx.log")
        ) { process in
            // An empty channel answers 404 to a publisher's GET; a server that is not ready answers nothing.
            try await process.wait {
                (try? await post(port: port, "/pub/ready", "{}")).map { (200..<300).contains($0.status) } ?? false
            }
            return try await body(RunningPeer(process: process, port: port))
        }
    }
}

/// A server in Python: the design that was replaced, which polls, and one that pushes.
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
        in workplace: ScratchDirectory, _ body: (RunningPeer) async throws -> Result
    ) async throws -> Result {
        let port = try freePort()
        let folder = try workplace.makeFolder("fastapi")
        _ = try workplace.write(EmbeddedFiles.all["fastapi_peer.py"] ?? Data(), to: "fastapi/fastapi_peer.py")
        return try await ServerProcess.lend(
            "\(environment)/bin/python",
            [
                "-m", "uvicorn", "fastapi_peer:app", "--app-dir", folder, "--port", "\(port)", "--no-access-log",
                "--backlog", "4096", "--timeout-graceful-shutdown", "1",
            ],
            log: workplace.path("fastapi.log")
        ) { process in
            try await process.wait { await answers(port: port, "/openapi.json") }
            return try await body(RunningPeer(process: process, port: port))
        }
    }
}
