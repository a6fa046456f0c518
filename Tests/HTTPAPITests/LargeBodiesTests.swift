import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore
import TestTime
import Testing

@testable import HTTPAPI

@Suite("Large bodies")
struct LargeBodiesTests {
    private func request(_ length: String?) -> Request {
        var head = HTTPRequest(method: .put, scheme: "http", authority: "test", path: "/")
        head.headerFields[.contentLength] = length
        return Request(head: head, body: RequestBody(buffer: ByteBuffer()))
    }

    /// Nests the use of bodies.
    private func use(_ depth: Int, _ bodies: LargeBodies, _ inmost: () async throws -> Void) async throws {
        if depth == 0 { return try await inmost() }
        try await bodies.admitting(request("\(depth * 2_000_000)")) { try await use(depth - 1, bodies, inmost) }
    }

    @Test("A large body has 30 seconds for each MiB")
    func pace() throws {
        let clock = ManualClock()
        let check = LargeBodies.Pace(time: .seconds(30), clock: clock).start()
        try check(1)
        clock.advance(by: .seconds(30))
        try check(1_048_575)
        clock.advance(by: .seconds(1))
        let late = #expect(throws: Problem.self) { try check(1_048_575) }
        #expect(late?.kind == .tooSlow)
        #expect(late?.closesConnection == true)
        try check(1_048_576)
        clock.advance(by: .seconds(29))
        try check(2_000_000)
        clock.advance(by: .seconds(1))
        #expect(throws: Problem.self) { try check(2_000_000) }
    }

    @Test("A fifth large body gets 503 until another ends, and a small one always has room")
    func limit() async throws {
        let bodies = LargeBodies()
        for _ in 0..<2 {
            try await use(4, bodies) {
                for length in ["2000000", nil, "x"] {
                    let refused = await #expect(throws: Problem.self) { try await bodies.admitting(request(length)) {} }
                    #expect(refused?.kind == .unavailable)
                    #expect(refused?.closesConnection == true)
                }
                let small = try await bodies.admitting(request("1048576")) { 7 }
                #expect(small == 7)
            }
        }
        await #expect(throws: CancellationError.self) {
            try await use(4, bodies) { throw CancellationError() }
        }
        let next = try await bodies.admitting(request(nil)) { 7 }
        #expect(next == 7)
    }
}
