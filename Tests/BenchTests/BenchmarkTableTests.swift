import Testing

@testable import bench

struct BenchmarkTableTests {
    @Test(
        "A figure has its unit and three digits",
        arguments: [
            (Figure(254.4, .bytes), "0.25 kB"), (Figure(10_312, .bytes), "10.3 kB"), (Figure(16e6, .bytes), "16 MB"),
            (Figure(121.6, .microseconds), "122 µs"), (Figure(1.2345, .milliseconds), "1.23 ms"),
            (Figure(174.3, .milliseconds), "174 ms"),
            (Figure(5, .seconds), "5 s"), (Figure(117_432.6, .perSecond), "117,433/s"),
            (Figure(0.8, .percent), "0.80 %"), (Figure(41.26, .times), "41.3 ×"),
            (Figure(1_000_000, .count), "1,000,000"), (Figure(-2500, .bytes), "-2.50 kB"),
        ])
    func figures(figure: Figure, text: String) {
        #expect(figure.description == text)
    }

    @Test("A target is met, missed, or undecided without a figure to compare")
    func targets() {
        func isMet(_ target: Target?, peers: [PeerFigure] = []) -> Bool? {
            Finding("x", Figure(5, .milliseconds), target: target, peers: peers).isMet
        }
        let slower = PeerFigure(name: "nchan", outcome: .measured(Figure(6, .milliseconds)))
        let equal = PeerFigure(name: "nchan", outcome: .measured(Figure(5, .milliseconds)))
        let missing = PeerFigure(name: "nchan", outcome: .none("not installed"))
        #expect(isMet(.atMost(5)) == true)
        #expect(isMet(.atMost(4.9)) == false)
        #expect(isMet(.atLeast(5)) == true)
        #expect(isMet(.atLeast(5.1)) == false)
        #expect(isMet(.below(peer: "nchan"), peers: [slower]) == true)
        #expect(isMet(.below(peer: "nchan"), peers: [equal]) == false)
        #expect(isMet(.below(peer: "nchan"), peers: [missing]) == nil)
        #expect(isMet(.below(peer: "nchan")) == nil)
        #expect(isMet(nil) == nil)
        #expect(Finding("x", .failed("broken"), target: .atMost(5)).isMet == nil)
    }

    @Test("A row has the figure, the target, the verdict and each peer with its ratio")
    func row() {
        var table = BenchmarkTable(machine: "2 cores.")
        table.add(
            Finding(
                "memory | a stream", Figure(250, .bytes), target: .atMost(500),
                peers: [
                    PeerFigure(name: "nchan", outcome: .measured(Figure(10_300, .bytes))),
                    PeerFigure(name: "FastAPI", outcome: .none("not installed")),
                ]),
            scenario: "idle-memory", taken: "2026-11-24, abc")
        table.add(
            Finding("batches", .notAvailable("no route"), target: .atLeast(10_000)), scenario: "reports", taken: "today"
        )
        #expect(
            table.rows.map(\.text) == [
                """
                | `idle-memory` | memory \\| a stream | 0.25 kB | ≤ 0.50 kB | yes | nchan 10.3 kB (41.2 × ours); \
                FastAPI: not installed | 2026-11-24, abc |
                """,
                "| `reports` | batches | not available: no route | ≥ 10,000 | – | – | today |",
            ])
    }

    @Test("A new run of a scenario replaces its rows, and keeps the other rows and the order")
    func merge() {
        let older = Self.table("2 cores.", ("a", 1), ("b", 1), ("b", 2), ("gone", 1))
        let newer = Self.table("2 cores.", ("b", 3), ("c", 1))
        let merged = newer.merged(over: older, order: ["c", "b", "a"])
        #expect(merged == Self.table("2 cores.", ("c", 1), ("b", 3), ("a", 1)))
    }

    @Test("Rows of another machine are dropped")
    func otherMachine() {
        let newer = Self.table("2 cores.", ("b", 3))
        #expect(newer.merged(over: Self.table("64 cores.", ("a", 1)), order: ["a", "b"]) == newer)
        #expect(newer.merged(over: nil, order: ["a", "b"]) == newer)
    }

    @Test("A document's table is read and written between the markers")
    func document() throws {
        let text = """
            # Benchmarks

            <!-- The table of make bench: begin -->
            <!-- The table of make bench: end -->

            The end.
            """
        let empty = try BenchmarkDocument(text: text)
        #expect(empty.table == nil)
        let table = Self.table("2 cores.", ("a", 1), ("b", 2))
        let written = empty.text(with: table)
        #expect(written.hasPrefix("# Benchmarks\n"))
        #expect(written.hasSuffix("\nThe end."))
        let document = try BenchmarkDocument(text: written)
        #expect(document.table == table)
        // A second write does not change the document.
        #expect(document.text(with: table) == written)
    }

    @Test(
        "A document without the markers of the table is refused",
        arguments: [
            "", "<!-- The table of make bench: begin -->\n",
            "<!-- The table of make bench: end -->\n<!-- The table of make bench: begin -->\n",
        ])
    func noMarkers(text: String) {
        #expect(throws: BenchmarkDocument.MarkersMissing.self) { try BenchmarkDocument(text: text) }
    }

    /// Makes a table with a row for each scenario and value.
    private static func table(_ machine: String, _ rows: (String, Int)...) -> BenchmarkTable {
        var table = BenchmarkTable(machine: machine)
        for (name, value) in rows { table.add(Finding("x", Figure(value, .count)), scenario: name, taken: "today") }
        return table
    }
}
