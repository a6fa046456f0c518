import App
import ArgumentParser
import FoundationEssentials
import Logging
import SettingsReading
import SystemPackage

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the HTTP server, the streams and the pipeline worker.")

    @Flag(name: .customLong("no-worker"), help: "Run no worker; other processes work on the queue.")
    var noWorker = false

    func run() async throws {
        ProcessProtection.forbidDumps()
        let logger = try startLogging()
        let settings = try Settings(SettingsReader())
        ProcessProtection.wipeSecrets()
        DescriptorCapacity.raise()
        try await Server(
            settings: settings, runsWorker: !noWorker, logger: logger, metrics: MetricsOutput.bootstrap()
        ).run()
    }
}

struct Work: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Run only the pipeline worker.")

    func run() async throws {
        ProcessProtection.forbidDumps()
        let logger = try startLogging()
        let settings = try Settings(SettingsReader())
        ProcessProtection.wipeSecrets()
        try await Server(settings: settings, runsWorker: true, logger: logger, metrics: MetricsOutput.bootstrap())
            .work()
    }
}

struct Dev: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the server with demo accounts and its own PostgreSQL under .data/.",
        discussion: "The first start makes demo accounts and a demo recording. Later starts keep the data.")

    @Option(help: "The folder of the database, the recordings and the secrets.")
    var directory = ".data"

    func run() async throws {
        let logger = try startLogging()
        // Written without a buffer: standard output may be a pipe, and its reader waits for the address.
        try await DevelopmentServer(directory: directory, logger: logger, metrics: MetricsOutput.bootstrap()) { line in
            _ = try? FileDescriptor.standardOutput.writeAll((line + "\n").utf8)
        }.run()
    }
}

/// Sets up logging by the settings LOG_LEVEL and LOG_FORMAT.
func startLogging() throws -> Logger {
    LogOutput.bootstrap(try LogSettings(SettingsReader()))
    return Logger(label: "therapybridge")
}
