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

    @Test("The bare route of Hummingbird closes the connections of clients that have left")
    func bareHummingbirdEnds() async throws {
        try await withPeer(BareHummingbird.self) { peer, scratch in
            try await EventStreams.lend(plan(of: peer, count: 200, options: [], in: scratch)) { _ in
                #expect(peer.figures.descriptorCount > 200)
            }
            try await eventually("few descriptors") { peer.figures.descriptorCount < 100 }
        }
    }

    /// Starts a peer, and opens streams that count as open with their head or, if the peer sends one, an event.
    private func withStreams<Peer: BarePeer>(
        of peer: Peer.Type, count: Int, _ body: (RunningPeer, EventStreams) async throws -> Void
    ) async throws {
        try await withPeer(peer) { running, scratch in
            let options = Peer.self == BareSends.self ? ["--open-with", "head"] : []
            try await EventStreams.lend(plan(of: running, count: count, options: options, in: scratch)) {
                try await body(running, $0)
            }
        }
    }

    private func withPeer<Peer: BarePeer>(
        _ peer: Peer.Type, _ body: (RunningPeer, ScratchDirectory) async throws -> Void
    ) async throws {
        try await ScratchDirectory.lend { scratch in
            try await Peer.lend(program: Self.path(of: "bench"), in: scratch) { try await body($0, scratch) }
        }
    }

    private func plan(
        of peer: RunningPeer, count: Int, options: [String], in scratch: ScratchDirectory
    ) throws -> EventStreams.Plan {
        EventStreams.Plan(
            program: Self.path(of: "sseload"), port: peer.port,
            targets: try scratch.write(Data("/sub/1\n".utf8), to: "targets"), count: count, options: options,
            log: scratch.path("log"))
    }

    private static func path(of program: String) -> String {
        buildFolder.appending(path: program).path(percentEncoded: false)
    }
}
