/// The cost of a stream among many streams, compared to a few.
struct Growth: Scenario {
    static let name = "growth"
    static let summary = "memory and latency with few streams and with as many as one process can hold"

    /// A stream takes a second descriptor of the server while it opens.
    ///
    /// Few streams open at a time, so that the descriptors suffice.
    private static let options = ["--pending", "200"]

    func run(on bed: TestBed) async throws -> [Finding] {
        let few = bed.isQuick ? 200 : 1000
        let many = min(few * 19, bed.mostStreams, bed.database.patients)
        let memoryOfFew = try await memory(few, on: bed)
        let memoryOfMany = try await memory(many, on: bed)
        let latencyOfFew = try await latency(few, on: bed)
        let latencyOfMany = try await latency(many, on: bed)
        let loads = "with \(counted(many, "streams")) compared to \(counted(few, "streams"))"
        func ratio(_ what: String, _ ofMany: Figure, _ ofFew: Figure, _ limit: Double) -> Finding {
            Finding(
                "\(what) \(loads): \(ofMany) to \(ofFew)", Figure(ofMany.value / ofFew.value, .times),
                target: .atMost(limit))
        }
        return [
            ratio(
                "Memory per stream", Figure(memoryOfMany, .bytes), Figure(memoryOfFew, .bytes), 1),
            ratio(
                "Commit to wire, p50,", Figure(latencyOfMany.p50, .milliseconds),
                Figure(latencyOfFew.p50, .milliseconds), 1.5),
            ratio(
                "Commit to wire, p99,", Figure(latencyOfMany.p99, .milliseconds),
                Figure(latencyOfFew.p99, .milliseconds), 1.5),
        ]
    }

    private func memory(_ streams: Int, on bed: TestBed) async throws -> Double {
        try await bed.withServer { server in
            try await memoryPerStream(
                server.figures, warmUp: bed.ownSessions(of: server, 50),
                bed.ownSessions(of: server, streams, options: Self.options))
        }
    }

    private func latency(_ streams: Int, on bed: TestBed) async throws -> ChangeLatency {
        let publisher = Publisher(rate: 200, duration: bed.duration(15))
        return try await bed.withServer { server in
            try await loadLatency(
                of: server, bed.ownSessions(of: server, streams, options: Self.options), on: bed, publisher
            ).latency
        }
    }
}
