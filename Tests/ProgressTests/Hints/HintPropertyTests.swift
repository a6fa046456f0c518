import Domain
import PropertySupport
import Testing

@testable import Progress
@testable import Store

/// Any role of the database may send notifications, and any client may send positions.
@Suite("Random notifications and positions")
struct HintPropertyTests {
    private static let ids = ["550e8400-e29b-41d4-a716-446655440000", "00000000-0000-0000-0000-000000000001"]
    private static let pieces =
        ids + [
            " ", "7", "0", "-1", "9223372036854775807", "9223372036854775808", "work", "rights ", "rights", "\n", "é",
            "٣", "+", "webhooks",
        ]

    @Test("An invalid notification does not affect the valid ones beside it")
    func notifications() {
        holds(forCases: 500) { random in
            let payloads = (0..<Int.random(in: 0...6, using: &random)).map { _ in
                random.happens(oneIn: 2)
                    ? "\(random.pick(Self.ids)) \(random.pick(["0", "1", "2", "9223372036854775807"]))"
                    : random.text(of: Self.pieces, count: 0...4)
            }
            var hints: [String: Int64] = [:]
            for match in payloads.compactMap({ $0.wholeMatch(of: /([0-9a-fA-F-]{36}) ([0-9]+)/) }) {
                guard SessionID(String(match.1)) != nil, let version = Int64(match.2) else { continue }
                let id = match.1.lowercased()
                hints[id] = hints[id] == 0 || version == 0 ? 0 : max(hints[id] ?? 0, version)
            }
            var read: [String: Int64] = [:]
            var kinds: [String] = []
            for event in NotificationPayload.events(in: payloads) {
                switch event {
                case .hints(let found):
                    for hint in found { read[hint.session.description] = hint.version }
                    kinds.append("hints")
                case .rightsChanged: kinds.append("rights")
                case .workWaiting: kinds.append("work")
                case .webhooksWaiting: kinds.append("webhooks")
                default: kinds.append("another")
                }
            }
            var expected: [String] = []
            if payloads.contains("rights") { expected.append("rights") }
            if !hints.isEmpty { expected.append("hints") }
            if payloads.contains("work") { expected.append("work") }
            if payloads.contains("webhooks") { expected.append("webhooks") }
            return read == hints && kinds == expected ? nil : "\(payloads): \(read), \(kinds)"
        }
    }

    @Test("Every accepted id is a position that PostgreSQL could write, and survives a round trip")
    func positions() {
        let pieces = [
            "3", "10", "12", "20", ".", "..", ":", ",", "9223372036854775807", "9223372036854775808", "-", " ", "٣",
        ]
        holds(forCases: 500) { random in
            let text = random.text(of: pieces, count: 0...9)
            guard let position = FeedPosition(id: text) else { return nil }
            guard position.snapshot.text.wholeMatch(of: /[0-9]+:[0-9]+:([0-9]+(,[0-9]+)*)?/) != nil,
                FeedPosition(id: position.id) == position, position.id.utf8.count <= 128
            else { return "\(text.debugDescription) is \(position)" }
            return nil
        }
    }

    @Test("A position that comes back by its id shows nothing that it did not show before")
    func snapshots() {
        holds(forCases: 200) { random in
            let oldest = Int64.random(in: 3...1_000_000, using: &random)
            let next = oldest + Int64.random(in: 0...60, using: &random)
            let inProgress = (oldest..<next).filter { _ in random.happens(oneIn: 3) }
            let position = FeedPosition(
                DatabaseSnapshot(
                    on: DatabaseTimeline(cluster: 1, number: 1), oldest: oldest, next: next, inProgress: inProgress))
            guard let read = FeedPosition(id: position.id) else { return "\(position) is not accepted" }
            // The client may get a change twice, but must not miss one.
            let lost = (oldest - 2...next + 2).first { read.shows($0) && !position.shows($0) }
            return lost.map { "\(position): \($0) is lost" }
        }
    }
}
