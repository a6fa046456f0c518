/// Something that is measured.
///
/// Each scenario starts its own servers, one at a time, so that none disturbs another.
protocol Scenario: Sendable {
    /// What it is called on the command line and in the table: lower-case letters and hyphens.
    static var name: String { get }

    /// What it is about, for whoever watches the run.
    static var summary: String { get }

    init()

    /// Measures, and says what it found.
    ///
    /// - Throws: When there is nothing to say; the other scenarios are run all the same.
    func run(on bed: TestBed) async throws -> [Finding]
}

/// All scenarios, in the order in which they are run and stand in the table.
let allScenarios: [any Scenario.Type] = [
    IdleMemory.self, CommitToWire.self, FanOut.self, Reconnection.self, ReportThroughput.self, IdleProcessor.self,
    Growth.self, StoppedClient.self, Upload.self,
]

/// A number of things, for a row of the table: `10,000 streams`.
func counted(_ count: Int, _ things: String) -> String { "\(Figure(count, .count)) \(things)" }
