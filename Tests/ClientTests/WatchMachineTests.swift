import Foundation
import Testing

@testable import TherapyBridgeClient

/// The decisions of a watch, without a network and without a clock.
struct WatchMachineTests {
    private static let session = "550e8400-e29b-41d4-a716-446655440000"

    private func event(_ name: String, version: Int? = nil, id: String? = nil) -> EventParser.Event {
        let data = version.map {
            #"{"session_id":"\#(Self.session)","status":"pending","progress":0,"version":\#($0),"attempt":1}"#
        }
        return EventParser.Event(name: name, id: id ?? version.map(String.init), data: data ?? "{}")
    }

    private func machine(followsAll: Bool = false) -> WatchMachine {
        WatchMachine(followsAll: followsAll, lastEventID: nil, retry: .seconds(2))
    }

    @Test("The delay doubles with each failure up to 30 s, and a state of the server begins it anew")
    func backOff() {
        var machine = machine()
        let delays = (0..<6).map { _ in machine.closed(.lost(), jitter: 0) }
        #expect(delays == [2, 4, 8, 16, 30, 30].map { .wait(.seconds($0)) })
        machine.opened()
        _ = machine.receive(event("progress", version: 1))
        #expect(machine.closed(.lost(), jitter: 1) == .wait(.seconds(3)))
    }

    @Test("The delay is never shorter than the server asks for")
    func retryAfter() {
        var machine = machine()
        #expect(machine.closed(.lost(after: .seconds(120)), jitter: 0) == .wait(.seconds(120)))
        machine.named(.seconds(45))
        #expect(machine.closed(.planned, jitter: 0) == .wait(.seconds(45)))
    }

    @Test("A token that expires at once makes no busy loop, and fresh tokens that are refused end the watch")
    func expiry() {
        var machine = machine()
        #expect(machine.closed(.expired) == .refresh)
        let delays = (0..<4).map { _ in machine.refreshed(jitter: 0) }
        #expect(delays == [nil, nil, nil, .seconds(30)])
        #expect(machine.closed(.unauthorized) == .refresh)
        #expect(machine.closed(.unauthorized) == .end(.signedOut, detail: "The server refuses fresh tokens."))
    }

    @Test("A busy server makes the state degraded, which the next state of the session ends")
    func busy() {
        var machine = machine()
        #expect(machine.receive(event("unavailable")).outcome == .busy)
        _ = machine.closed(.busy)
        #expect(machine.state == .degraded)
        machine.opened()
        #expect(machine.state == .degraded)
        _ = machine.receive(event("progress", version: 1))
        #expect(machine.state == .live)
    }

    @Test("The position of all sessions is that of the last event with an id")
    func position() {
        var machine = machine(followsAll: true)
        machine.opened()
        _ = machine.receive(event("progress", version: 3, id: ""))
        #expect(machine.lastEventID == nil)
        _ = machine.receive(event("ready", id: "9.9"))
        #expect(machine.lastEventID == "9.9")
    }

    @Test(
        "A Close frame says how the connection ends",
        arguments: [
            (1000, "finished", .ended(.finished)), (1001, "shutdown", .planned), (1013, "too many streams", .busy),
            (1011, "unavailable", .busy), (1011, "internal-error", .lost()), (1008, "unauthorized", .unauthorized),
            (1008, "expired", .expired), (1008, "revoked", .ended(.revoked, detail: "revoked")),
            (1008, "too much data", .ended(.refused, detail: "too much data")), (1007, "", .ended(.refused)),
            (1005, "", .lost()), (4000, "", .lost()),
        ] as [(Int, String, WatchMachine.Outcome)])
    func closeFrames(code: Int, reason: String, outcome: WatchMachine.Outcome) {
        #expect(machine().closeFrame(code: code, reason: reason) == outcome)
    }

    @Test("Any division of the bytes gives the same events")
    func divisions() throws {
        let text =
            "\u{FEFF}retry: 40\r\nid: 1\r\nevent: progress\rdata: Größe 語 😀\n\n: heartbeat\n\ndata: a\ndata: b\r\r\n"
        let bytes = Array(text.utf8)
        let wanted: [EventParser.Event] = [
            .init(name: "progress", id: "1", data: "Größe 語 😀"), .init(name: "message", id: nil, data: "a\nb"),
        ]
        for size in 1...bytes.count {
            var parser = EventParser()
            var events: [EventParser.Event] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                events += try parser.feed(bytes[start..<min(start + size, bytes.count)])
            }
            #expect(events == wanted, "pieces of \(size)")
            #expect(parser.retry == .milliseconds(40))
            #expect(!parser.isInsideEvent)
        }
    }
}
