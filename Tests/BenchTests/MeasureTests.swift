import Testing

@testable import bench

/// The values from which figures are made.
struct MeasureTests {
    @Test(
        "A quantile is a value of the list, by the nearest rank",
        arguments: [(0.5, 2.0), (0.75, 3), (0.99, 4), (1, 4), (0, 1)])
    func quantile(share: Double, value: Double) {
        #expect([4, 1, 3, 2].quantile(share) == value)
        #expect([Double]().quantile(share).isNaN)
    }

    @Test("The output of pgbench gives the rate and the number of transactions")
    func pgbench() {
        let output = """
            number of transactions actually processed: 8000/8000
            number of failed transactions: 0 (0.000%)
            latency average = 2.5 ms
            tps = 6321.570000 (without initial connection time)
            """
        let outcome = Pgbench.Outcome(output: output)
        #expect(outcome?.perSecond == 6321.57)
        #expect(outcome?.transactions == 8000)
        #expect(Pgbench.Outcome(output: output.replacing("transactions: 0", with: "transactions: 3")) == nil)
        #expect(Pgbench.Outcome(output: "pgbench: error") == nil)
    }

    @Test("Streams are divided among servers, the last of which has the rest")
    func capacity() {
        let capacity = capacity(wanted: 100_000)
        #expect(capacity.servers == [19_000, 19_000, 19_000, 19_000, 19_000, 5_000])
        #expect(capacity.shortage == nil)
    }

    @Test("If the memory, the descriptors or the connections do not suffice, there are fewer streams, and a reason")
    func shortage() {
        let memory = capacity(wanted: 100_000, freeMemory: 32_000 * 50_000)
        #expect(memory.servers == [19_000, 19_000, 12_000])
        #expect(memory.shortage == "the free memory allows no more")
        let descriptors = capacity(wanted: 100_000, freeDescriptors: 20_000)
        #expect(descriptors.servers == [10_000])
        #expect(descriptors.shortage == "the descriptors of the machine allow no more")
        let connections = capacity(wanted: 100_000, mostServers: 2)
        #expect(connections.servers == [19_000, 19_000])
        #expect(connections.shortage != nil)
    }

    private func capacity(
        wanted: Int, mostServers: Int = 12, freeMemory: Int = 16 << 30, freeDescriptors: Int = 1 << 20
    ) -> StreamCapacity {
        StreamCapacity(
            wanted: wanted, perServer: 19_000, mostServers: mostServers, freeMemory: freeMemory,
            freeDescriptors: freeDescriptors)
    }

    @Test("A comparison with a peer is a ratio, or has the reason for the peer's missing figure")
    func comparison() {
        let peer = PeerFigure(name: "nchan", outcome: .measured(Figure(4, .seconds)))
        #expect(Finding.Outcome.comparison(2, to: peer) == .measured(Figure(0.5, .times)))
        let missing = PeerFigure(name: "nchan", outcome: .none("not installed"))
        #expect(Finding.Outcome.comparison(2, to: missing) == .notAvailable("nchan: not installed"))
    }

    @Test("Workers of a pace share all numbers", arguments: [1, 3, 8])
    func pace(workers: Int) async throws {
        let pace = Pace(rate: 1000, duration: .milliseconds(20), workers: workers)
        #expect(pace.count == 20)
        var numbers: [Int] = []
        for worker in 0..<workers { try await pace.run(worker) { numbers.append($0) } }
        #expect(numbers.sorted() == Array(0..<20))
    }

    @Test("A pace leaves out the actions that come too late, if it may")
    func late() async throws {
        let pace = Pace(count: 10, duration: .milliseconds(200), workers: 1)
        var numbers: [Int] = []
        try await pace.run(0, skipsLate: true) { number in
            numbers.append(number)
            // Longer than the pace lasts.
            try await Task.sleep(for: .milliseconds(250))
        }
        #expect(numbers == [0])
    }
}
