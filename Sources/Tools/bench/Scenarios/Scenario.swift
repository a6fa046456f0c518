/// A scenario of the benchmark.
///
/// Each scenario starts its own servers one after the other. Otherwise they would disturb each other.
protocol Scenario: Sendable {
    /// The name on the command line and in the table: lower-case letters and hyphens.
    static var name: String { get }

    /// The description in the progress of the run.
    static var summary: String { get }

    init()

    /// Measures, and returns the findings.
    ///
    /// - Throws: Any error. The other scenarios still run.
    func run(on bed: TestBed) async throws -> [Finding]
}

/// All scenarios, in the order of the run and of the table.
let allScenarios: [any Scenario.Type] = [
    IdleMemory.self, CommitToWire.self, FanOut.self, Reconnection.self, ReportThroughput.self, IdleProcessor.self,
    Growth.self, StoppedClient.self, Upload.self, Openings.self, SignIns.self, ManyServers.self, RightsUnderLoad.self,
]

/// Formats a number of things for a row of the table: `10,000 streams`.
func counted(_ count: Int, _ things: String) -> String { "\(Figure(count, .count)) \(things)" }
