import App
import ArgumentParser
import Foundation
import Logging
import SettingsReading

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the HTTP server, the streams and the pipeline worker.")

    @Flag(name: .customLong("no-worker"), help: "Leave the queue to other processes.")
    var noWorker = false

    func run() async throws {
        let logger = try startLogging()
        try await Server(
            settings: Settings(SettingsReader()), runsWorker: !noWorker, logger: logger,
            metrics: MetricsOutput.bootstrap()
        ).run()
    }
}

struct Work: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Run only the pipeline worker.")

    func run() async throws {
        let logger = try startLogging()
        try await Server(
            settings: Settings(SettingsReader()), runsWorker: true, logger: logger, metrics: MetricsOutput.bootstrap()
        ).work()
    }
}

struct Dev: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run everything for a first look, on a PostgreSQL of its own under .data/.",
        discussion: "Makes demo accounts and a demo recording at the first start; a second start keeps the data.")

    @Option(help: "The folder that holds everything.")
    var directory = ".data"

    func run() async throws {
        let logger = try startLogging()
        // Written at once: whoever pipes this waits for the address.
        try await DevelopmentServer(directory: directory, logger: logger, metrics: MetricsOutput.bootstrap()) { line in
            try? FileHandle.standardOutput.write(contentsOf: Data((line + "\n").utf8))
        }.run()
    }
}

/// Sets up logging as LOG_LEVEL and LOG_FORMAT say.
func startLogging() throws -> Logger {
    LogOutput.bootstrap(try LogSettings(SettingsReader()))
    return Logger(label: "therapybridge")
}
