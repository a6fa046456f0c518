import Domain
import Testing

@testable import Progress

/// The payloads of the channel, and payloads of strangers.
@Suite("Payloads of notifications") struct NotificationPayloadTests {
    private static let session = SessionID("550e8400-e29b-41d4-a716-446655440000")!
    private static let id = session.description

    @Test("Each kind of payload has its event")
    func kinds() {
        #expect(
            NotificationPayload.events(in: ["\(Self.id) 7"]) == [.hints([.init(session: Self.session, version: 7)])])
        #expect(
            NotificationPayload.events(in: ["\(Self.id) 0"]) == [.hints([.init(session: Self.session, version: 0)])])
        #expect(NotificationPayload.events(in: ["rights"]) == [.rightsChanged])
        #expect(NotificationPayload.events(in: ["work"]) == [.workWaiting])
        #expect(NotificationPayload.events(in: ["webhooks", "webhooks"]) == [.webhooksWaiting])
        #expect(NotificationPayload.events(in: [] as [String]).isEmpty)
    }

    @Test("Rights come first, and there is at most one event of each kind")
    func order() {
        let events = NotificationPayload.events(
            in: ["work", "\(Self.id) 3", "rights", "work", "\(Self.id) 4", "rights"])
        #expect(events == [.rightsChanged, .hints([.init(session: Self.session, version: 4)]), .workWaiting])
    }

    @Test(
        "Hints of one session are merged into the newest, and a deletion always wins",
        arguments: [
            ([3, 5, 4], 5), ([5, 5], 5), ([0, 5], 0), ([5, 0], 0), ([5, 0, 6], 0), ([0, 0], 0),
            ([1, Int64.max], Int64.max),
        ] as [([Int64], Int64)])
    func joins(versions: [Int64], expected: Int64) {
        let events = NotificationPayload.events(in: versions.map { "\(Self.id) \($0)" })
        #expect(events == [.hints([.init(session: Self.session, version: expected)])])
    }

    @Test("Each session has its own hint")
    func sessions() {
        let sessions = (0..<5).map { _ in SessionID.random() }
        guard
            case .hints(let hints) = NotificationPayload.events(
                in: sessions.enumerated().map { "\($0.element) \($0.offset + 1)" }
            ).first
        else {
            Issue.record("no hints")
            return
        }
        #expect(
            Dictionary(uniqueKeysWithValues: hints.map { ($0.session, $0.version) })
                == Dictionary(uniqueKeysWithValues: zip(sessions, 1...5)))
    }

    @Test(
        "An invalid payload is ignored, and does not affect the others",
        arguments: [
            "", " ", "0", "\n", "\0", "work ", " work", "WORK", "works", "rights ", "rights 12", "right", "session",
            id, "\(id) ", "\(id)  7", "\(id) +7", " \(id) 7", "\(id) 7 ", "\(id) 7 8", "\(id)\t7", "\(id) seven",
            "\(id) 7.0",
            "\(id) 0x7", "\(id) 7\n", "\(id) 7; DROP TABLE app.users", "\(id) -1", "\(id) \(Int64.min)",
            "\(id) 9223372036854775808", "\(id) 99999999999999999999999999", "\(id) ７", "\(id) ٧", "\(id),7",
            "{\"session\":\"\(id)\"}", "\(id.dropLast()) 7", "\(id)0 7", "{\(id)} 7",
            "\(id.replacing("-", with: "")) 7", "550e8400-e29b-41d4-a716-44665544000g 7",
            "550e8400+e29b-41d4-a716-446655440000 7", "５50e8400-e29b-41d4-a716-4466554400 7", "👩‍⚕️ 7",
            String(repeating: "x", count: 7999), String(repeating: " ", count: 7999),
            "\(id) " + String(repeating: "9", count: 7900),
        ])
    func hostile(payload: String) {
        #expect(NotificationPayload.events(in: [payload]).isEmpty)
        #expect(
            NotificationPayload.events(in: [payload, "\(Self.id) 7", payload])
                == [.hints([.init(session: Self.session, version: 7)])])
    }

    /// Our triggers write lowercase letters only, but RFC 9562 accepts both on input.
    @Test("A UUID may have uppercase letters")
    func upperCase() {
        #expect(
            NotificationPayload.events(in: ["\(Self.id.uppercased()) 7"])
                == [.hints([.init(session: Self.session, version: 7)])])
    }
}
