import ArgumentParser
import Foundation
import Postgres
import UnixSignals

/// The benchmark of the whole program.
///
/// Each scenario is a file in `Scenarios`. `docs/benchmarks.md` describes what they measure.
@main
struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure the server with its own PostgreSQL, and other installed servers for comparison.",
        discussion: """
            Starts everything that it needs and ends it again. Needs the release build of therapybridge and sseload beside \
            itself: `make bench` sees to that. Prints the table on standard output.

            Scenarios: \(allScenarios.map { $0.name }.joined(separator: ", ")).
            """,
        subcommands: [BareHummingbird.self, BareSends.self])

    @Option(name: .customLong("scenario"), help: "Run only this scenario. May be repeated.")
    var names: [String] = []

    @Option(help: "The number of streams, unless the scenario has its own.")
    var streams: Int?

    @Flag(help: "Run shorter and with fewer streams, to test the benchmark.")
    var quick = false

    @Option(help: "Write the table into this document. Rows of other scenarios stay.", completion: .file())
    var write: String?

    @Option(help: "The Python virtual environment with FastAPI.", completion: .directory)
    var pythonEnvironment = ".data/bench-venv"

    func validate() throws {
        for name in names where !allScenarios.contains(where: { $0.name == name }) {
            throw ValidationError("There is no scenario \(name).")
        }
        if quick, write != nil {
            throw ValidationError("--quick cannot be used with --write: its figures are not comparable.")
        }
        if let streams, !(100...100_000).contains(streams) {
            throw ValidationError("--streams has to be from 100 to 100000.")
        }
    }

    func run() async throws {
        raiseDescriptorLimit()
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        let succeeded = try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                for await signal in signals { throw ExitCode(128 + signal.rawValue) }
                throw CancellationError()
            }
            group.addTask { try await measure() }
            defer { group.cancelAll() }
            return try await group.next() ?? false
        }
        if !succeeded { throw ExitCode.failure }
    }

    /// Runs the scenarios.
    ///
    /// - Returns: False if a scenario failed.
    private func measure() async throws -> Bool {
        // Reads the document first: without a place for the table, measuring would be in vain.
        let document = try write.map { try BenchmarkDocument(text: String(contentsOfFile: $0, encoding: .utf8)) }
        let programs = try TestBed.Programs.find()
        let streams = streams ?? (quick ? 1000 : 10_000)
        return try await ScratchDirectory.lend { scratch in
            say("Starting PostgreSQL and filling it …")
            // Some scenarios open one stream for each patient, if the machine allows it.
            let patients = max(streams, quick ? 4000 : 19_000)
            return try await BenchDatabase.lend(in: scratch, patients: patients, therapists: streams) { database in
                let bed = TestBed(
                    programs: programs, scratch: scratch, database: database,
                    peers: await Peers.find(pythonEnvironment: pythonEnvironment), streams: streams,
                    fastAPIStreams: streams / 5, isQuick: quick)
                return try await measure(on: bed, document)
            }
        }
    }

    private func measure(on bed: TestBed, _ document: BenchmarkDocument?) async throws -> Bool {
        let machine = Machine(postgres: try await version(of: bed.database), peers: bed.peers.descriptions)
        var table = BenchmarkTable(machine: machine.description)
        var succeeded = true
        let taken = await Self.taken()
        for scenario in allScenarios where names.isEmpty || names.contains(scenario.name) {
            say("\(scenario.name): \(scenario.summary) …")
            let findings = try await findings(of: scenario, on: bed)
            for finding in findings {
                table.add(finding, scenario: scenario.name, taken: taken)
                if case .failed = finding.outcome { succeeded = false }
            }
            for row in table.rows.suffix(findings.count) { say("  \(row.text)") }
            // Written after each scenario, so that an interrupted run keeps its figures.
            if let document, let write {
                let merged = table.merged(over: document.table, order: allScenarios.map { $0.name })
                try document.text(with: merged).write(toFile: write, atomically: true, encoding: .utf8)
            }
        }
        print(table.text)
        return succeeded
    }

    /// Runs a scenario.
    ///
    /// If it fails, the failure is the finding.
    private func findings(of scenario: any Scenario.Type, on bed: TestBed) async throws -> [Finding] {
        do {
            return try await scenario.init().run(on: bed)
        } catch {
            try Task.checkCancellation()
            return [Finding(scenario.summary, .failed("\(error)"))]
        }
    }

    private func version(of database: BenchDatabase) async throws -> String {
        let number = try await database.withConnection { await $0.serverVersion }
        return "\(number / 10_000).\(number % 10_000)"
    }

    /// The day, and the revision of the program if git knows it.
    private static func taken() async -> String {
        let day = Date.now.formatted(.iso8601.year().month().day())
        guard let revision = try? await runToEnd("git", ["rev-parse", "--short", "HEAD"]) else { return day }
        let sources = ["Package.swift", "Sources", "migrations"]
        let isChanged = (try? await runToEnd("git", ["diff", "--quiet", "HEAD", "--"] + sources)) == nil
        return "\(day), \(revision.trimmingCharacters(in: .whitespacesAndNewlines))" + (isChanged ? " and changes" : "")
    }
}

/// Prints a line about the progress of the run.
func say(_ line: String) { try? FileHandle.standardError.write(contentsOf: Data((line + "\n").utf8)) }
