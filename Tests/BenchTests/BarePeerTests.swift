import Foundation
import TestSupport
import Testing

@testable import bench

/// The peers that the benchmark itself runs.
///
/// The tests run one after the other, because they share the folder of this process.
@Suite(.deadline, .serialized) struct BarePeerTests {
    @Test("The bare loop sends a change to every stream, which has its time")
    func bareSends() async throws {
        try await withStreams(of: BareSends.self, count: 5) { peer, streams in
            let arrivals = try await streams.arrivals(of: 5, within: TestDeadline.event) {
                try await postChange(to: peer, "/all")
            }
            #expect(arrivals.latencyMs.count == 5)
            #expect(arrivals.events == 5)
            #expect(arrivals.ended == 0)
        }
    }

    @Test("The bare route of Hummingbird opens streams with an event, and keeps them open")
    func bareHummingbird() async throws {
        try await withStreams(of: BareHummingbird.self, count: 5) { _, streams in
            #expect(streams.opening.openingMs.count == 5)
            let report = try await streams.report()
            #expect(report.ended == 0)
        }
    }

    /// Starts a peer, and opens streams that count as open with their head or, if the peer sends one, an event.
    private func withStreams<Peer: BarePeer>(
        of peer: Peer.Type, count: Int, _ body: (RunningPeer, EventStreams) async throws -> Void
    ) async throws {
        let programs = URL(filePath: builtProgram).deletingLastPathComponent()
        try await ScratchDirectory.lend { scratch in
            try await Peer.lend(
                program: programs.appending(path: "bench").path(percentEncoded: false), in: scratch
            ) { running in
                let plan = EventStreams.Plan(
                    program: programs.appending(path: "sseload").path(percentEncoded: false), port: running.port,
                    targets: try scratch.write(Data("/sub/1\n".utf8), to: "targets"), count: count,
                    options: Peer.self == BareSends.self ? ["--open-with", "head"] : [], log: scratch.path("log"))
                try await EventStreams.lend(plan) { try await body(running, $0) }
            }
        }
    }
}
