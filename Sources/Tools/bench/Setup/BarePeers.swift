import ArgumentParser
import Foundation
import HTTPTypes
import Hummingbird
import LocalPostgres
import Logging
import NIOCore

/// A peer that this program itself runs, in a process of its own.
///
/// The peer is a subcommand, which `bench --help` does not show.
protocol BarePeer: AsyncParsableCommand {
    /// The path that answers a POST with a status from 200 to 299 once the peer is ready.
    static var readyPath: String { get }
}

extension BarePeer {
    /// Starts the peer, lends it and ends it.
    ///
    /// - Parameters:
    ///   - program: The path of this program.
    ///   - scratch: The folder for the log.
    ///   - body: Uses the peer.
    /// - Returns: The value of `body`.
    /// - Throws: The error of `body`; `BenchmarkError` when the peer does not start.
    static func lend<Result: Sendable>(
        program: String = TestBed.Programs.own, in scratch: ScratchDirectory,
        _ body: (RunningPeer) async throws -> Result
    ) async throws -> Result {
        let port = try freePort()
        let name = configuration.commandName ?? ""
        return try await ServerProcess.lend(
            program, [name, "\(port)"], log: scratch.path("\(name).log")
        ) { process in
            try await process.wait {
                (try? await post(port: port, readyPath, "{}")).map { (200..<300).contains($0.status) } ?? false
            }
            return try await body(RunningPeer(process: process, port: port))
        }
    }
}

/// A route of Hummingbird that opens an event stream: the least that a server with this framework has to do.
struct BareHummingbird: BarePeer {
    static let configuration = CommandConfiguration(
        commandName: "bare-hummingbird", abstract: "Serve event streams by a bare route.", shouldDisplay: false)
    static let readyPath = "/ready"

    @Argument(help: "The port.")
    var port: Int

    func run() async throws {
        raiseDescriptorLimit()
        let router = Router()
        router.post("ready") { _, _ in HTTPResponse.Status.noContent }
        router.get("sub/{id}") { request, _ in
            Response(
                status: .ok, headers: [.contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-cache"],
                body: ResponseBody { writer in
                    try await writer.write(ByteBuffer(string: "event: progress\ndata: {}\n\n"))
                    // Until the client leaves. A server that does not notice keeps the client's half-closed connection, and
                    // has no descriptors left for the next crowd.
                    try await request.body.consumeWithCancellationOnInboundClose { _ in
                        try await Task.sleep(for: .seconds(86_400))
                    }
                    try await writer.finish(nil)
                })
        }
        let application = Application(
            router: router, configuration: .init(address: .hostname("127.0.0.1", port: port), backlog: 4096),
            logger: Logger(label: "bare-hummingbird") { _ in SwiftLogNoOpLogHandler() })
        // Without a handler, SIGTERM ends the process at once.
        try await application.runService(gracefulShutdownSignals: [])
    }
}
