import Foundation
import Testing

/// The product takes every moment from the clock that it was given.
@Suite("The use of clocks") struct ClockUseTests {
    /// The files that may name the system's clock: as a default, and where the server takes its own.
    private static let defaults: Set = [
        "App/Check/LatencyCheck.swift", "App/Server.swift", "Migrations/Migrator.swift",
        "Pipeline/Stages/StageCommand.swift",
        "Pipeline/Transcriber/AudioProbe.swift", "Pipeline/Transcriber/Transcriber.swift",
        "Pipeline/Worker/PipelineTools.swift", "Postgres/Connection/PostgresConnection.swift",
        "Postgres/Listener/PostgresListener.swift", "Postgres/Pool/PostgresPool.swift", "Store/AccessMerger.swift",
        "Streaming/StreamReactor.swift", "TherapyBridgeClient/TherapyBridge.swift",
    ]

    private static let sources = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().appending(path: "Sources")

    /// The product's files, by their paths in `Sources`.
    ///
    /// Tools and a developer's servers may use any clock.
    private static func files() throws -> [(path: String, text: String)] {
        let outside = ["LocalPostgres/", "Tools/", "bench/", "sseload/", "embed-files/", "EmbedFiles/"]
        let paths = try FileManager.default.subpathsOfDirectory(atPath: sources.path)
        return try paths.filter { path in path.hasSuffix(".swift") && !outside.contains { path.hasPrefix($0) } }
            .map { ($0, try String(contentsOf: sources.appending(path: $0), encoding: .utf8)) }
    }

    @Test("Product code reads the time and sleeps only by the clock that it was given")
    func onlyGivenClocks() throws {
        // `Timestamp.now()` is the time of day, for tokens and rows. `.now` alone is a moment of `ContinuousClock`.
        let moment = #/(?:^|[^\w\])}])\.now\b(?!\()/#
        let forbidden =
            #/ContinuousClock\.now|SuspendingClock|(?:Task|Thread)\.sleep|clock: \.continuous|NIODeadline\.now|DispatchTime|\bu?sleep\(\d/#
        let files = try Self.files()
        #expect(files.count > 150, "the test has not tested anything")
        for (path, text) in files {
            for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
                let code = line.split(separator: "//", maxSplits: 1, omittingEmptySubsequences: false)[0]
                let isClean = code.firstMatch(of: moment) == nil && code.firstMatch(of: forbidden) == nil
                #expect(isClean, "\(path):\(number + 1): \(line)")
            }
        }
    }

    @Test("Few places name the system's clock")
    func fewSystemClocks() throws {
        let named = try Self.files().filter { $0.text.contains("ContinuousClock()") }.map(\.path)
        #expect(Set(named) == Self.defaults)
    }
}
