/// The resident memory of an idle stream.
struct IdleMemory: Scenario {
    static let name = "idle-memory"
    static let summary = "resident memory per idle stream"

    func run(on bed: TestBed) async throws -> [Finding] {
        let bytes = try await bed.withServer { server in
            try await memoryPerStream(
                server.figures, warmUp: bed.ownSessions(of: server, bed.streams / 20),
                bed.ownSessions(of: server, bed.streams))
        }
        let nchan = try await bed.nchan { peer in
            try await peerMemory(peer, bed.streams, on: bed) { "/sub/\($0)" }
        }
        let polling = try await bed.fastAPI("FastAPI polling") { peer in
            try await peerMemory(peer, bed.fastAPIStreams, on: bed) { "/poll/\($0)" }
        }
        let pushing = try await bed.fastAPI("sse-starlette") { peer in
            try await peerMemory(peer, bed.fastAPIStreams, on: bed) { "/push/\($0)" }
        }
        return [
            Finding(
                """
                Resident memory per idle stream, \(counted(bed.streams, "streams")) on as many sessions \
                (FastAPI and sse-starlette: \(counted(bed.fastAPIStreams, "streams")))
                """,
                Figure(bytes, .bytes), target: .atMost(350), peers: [nchan, polling, pushing])
        ]
    }

    private func peerMemory(
        _ peer: RunningPeer, _ streams: Int, on bed: TestBed, path: (Int) -> String
    ) async throws -> Figure {
        let bytes = try await memoryPerStream(
            peer.figures, warmUp: bed.peerStreams(of: peer, streams / 20, path: path),
            bed.peerStreams(of: peer, streams, path: path))
        return Figure(bytes, .bytes)
    }
}

/// Opens and closes streams, and waits until the server has closed them, too.
func open(andClose plan: EventStreams.Plan, of figures: ProcessFigures) async throws {
    let idleDescriptors = figures.descriptorCount
    try await EventStreams.lend(plan) { _ in }
    let deadline = ContinuousClock.now + .seconds(30)
    while figures.descriptorCount > idleDescriptors + 16, ContinuousClock.now < deadline {
        try await Task.sleep(for: .milliseconds(100))
    }
}

/// The growth of a server's private memory for each stream.
///
/// First, a twentieth of the streams opens and closes again, so that one-time allocations do not count. This first wave
/// is small, because a server may keep the memory of closed streams for the measured ones.
func memoryPerStream(
    _ figures: ProcessFigures, warmUp: EventStreams.Plan, _ plan: EventStreams.Plan
) async throws -> Double {
    try await open(andClose: warmUp, of: figures)
    let before = try await figures.settledBytes()
    let after = try await EventStreams.lend(plan) { _ in try await figures.settledBytes() }
    return Double(after - before) / Double(plan.count)
}
