import Foundation

/// The findings as a table in Markdown.
///
/// A row begins with its scenario, and ends with the day and the program's revision. A new run of a scenario replaces
/// the rows of that scenario only.
struct BenchmarkTable: Sendable, Equatable {
    /// One line of the table, of one scenario.
    struct Row: Sendable, Equatable {
        var scenario: String
        var text: String
    }

    /// The machine of the run.
    ///
    /// Rows of another machine are dropped.
    var machine: String
    var rows: [Row]

    private static let head = """
        | scenario | what | figure | target | met | others in the same run | taken |
        |---|---|---|---|---|---|---|
        """

    var text: String { "\(machine)\n\n\(Self.head)\n" + rows.map { $0.text + "\n" }.joined() }

    init(machine: String, rows: [Row] = []) {
        self.machine = machine
        self.rows = rows
    }

    /// Reads a table in the form of ``text``; nil for anything else.
    init?(_ text: some StringProtocol) {
        let lines = String(text).split(separator: "\n").map(String.init)
        let head = Self.head.split(separator: "\n").map(String.init)
        guard let machine = lines.first, Array(lines.dropFirst().prefix(head.count)) == head else { return nil }
        self.machine = machine
        rows = lines.dropFirst(1 + head.count).compactMap { line in
            line.firstMatch(of: /^\| `([a-z-]+)` \|/).map { Row(scenario: String($0.1), text: line) }
        }
    }

    /// Adds a finding of a scenario, with the day and the program's revision.
    mutating func add(_ finding: Finding, scenario: String, taken: String) {
        let met = finding.isMet.map { $0 ? "yes" : "**no**" } ?? "–"
        let cells = [
            "`\(scenario)`", finding.what, Self.figure(finding.outcome), Self.target(finding), met,
            Self.peers(finding), taken,
        ]
        let escaped = cells.map { $0.replacing("|", with: "\\|").replacing("\n", with: " ") }
        rows.append(Row(scenario: scenario, text: "| " + escaped.joined(separator: " | ") + " |"))
    }

    /// Adds the rows of an older table for the scenarios that this table lacks.
    ///
    /// The scenarios are in the order of `order`.
    func merged(over older: BenchmarkTable?, order: [String]) -> BenchmarkTable {
        let fresh = Set(rows.map(\.scenario))
        let kept = older?.machine == machine ? older?.rows.filter { !fresh.contains($0.scenario) } ?? [] : []
        return BenchmarkTable(
            machine: machine, rows: order.flatMap { name in (rows + kept).filter { $0.scenario == name } })
    }

    private static func figure(_ outcome: Finding.Outcome) -> String {
        switch outcome {
        case .measured(let figure): figure.description
        case .notAvailable(let reason): "not available: \(reason)"
        case .failed(let reason): "failed: \(reason)"
        }
    }

    private static func target(_ finding: Finding) -> String {
        // A target has the unit of its figure. Without a figure, it is a bare number.
        func value(_ value: Double) -> String {
            guard case .measured(let figure) = finding.outcome else { return Figure(value, .count).description }
            return Figure(value, figure.unit).description
        }
        switch finding.target {
        case nil: return "–"
        case .atMost(let limit): return "≤ \(value(limit))"
        case .atLeast(let limit): return "≥ \(value(limit))"
        case .below(let peer): return "below \(peer)"
        }
    }

    private static func peers(_ finding: Finding) -> String {
        if finding.peers.isEmpty { return "–" }
        return finding.peers.map { peer in
            switch peer.outcome {
            case .none(let reason): return "\(peer.name): \(reason)"
            case .measured(let theirs):
                let text = "\(peer.name) \(theirs)"
                guard case .measured(let ours) = finding.outcome, ours.value > 0 else { return text }
                return text + " (\(Figure(theirs.value / ours.value, .times)) ours)"
            }
        }.joined(separator: "; ")
    }
}
