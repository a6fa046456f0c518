import Crypto
import Foundation
import Synchronization
import TestSupport
import TestTime
import Testing

@testable import TherapyBridgeClient

/// The Swift client against the server that misbehaves.
@Suite(.deadline) struct SwiftClientTests {
    private static let session = "550e8400-e29b-41d4-a716-446655440000"
    private static let names = [session: "a", "6fa459ea-ee8a-4ca4-894e-db77e160355e": "b"]

    @Test("The Swift client passes the table of cases")
    func cases() async throws {
        let cases = try ClientCase.all()
        let ways: [String: TherapyBridge.Transport] = ["fetch": .stream, "websocket": .webSocket, "poll": .poll]
        try await MisbehavingServer.with { server in
            try await withThrowingTaskGroup { group in
                for one in cases {
                    if let callers = one.callers {
                        group.addTask { try await Self.call(one, callers: callers, at: server) }
                        continue
                    }
                    if one.upload != nil {
                        for checksums in [true, false] {
                            group.addTask { try await Self.upload(one, checksums: checksums, to: server) }
                        }
                    }
                    for transport in one.transports ?? ["fetch"] where one.upload == nil {
                        guard let way = ways[transport] else { continue }
                        group.addTask { try await Self.watch(one, by: way, at: server) }
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    private static func options(_ one: ClientCase, clock: (any Clock<Duration>)? = nil) -> TherapyBridge.Options {
        var options = TherapyBridge.Options()
        if let clock { options.clock = clock }
        options.retry = .milliseconds(20)
        options.pollInterval = .milliseconds(20)
        options.watchdog = .seconds(one.options?.watchdog ?? 60) * TestDeadline.slowness
        return options
    }

    private static let tokens = TokenPair(access: "access-1", refresh: "refresh-1")

    private static func log(_ run: String, at server: MisbehavingServer) async throws -> ServerLog {
        try await TherapyBridge.withClient(of: server.baseURL(run)) {
            try await $0.request("GET", "/log", as: ServerLog.self)
        }
    }

    private static func watch(
        _ one: ClientCase, by transport: TherapyBridge.Transport, at server: MisbehavingServer
    ) async throws {
        guard let watchdog = one.options?.watchdog, transport != .webSocket else {
            return try await watch(one, by: transport, at: server, run: "\(one.name)~swift", followed: Followed())
        }
        // A case about silence has a clock of its own, and does not depend on the speed of the machine. Over a WebSocket, the time
        // also passes between a ping and its answer.
        let run = "\(one.name)~by-hand-swift"
        let clock = ManualClock()
        let followed = Followed()
        let driver = CaseClockDriver(
            time: clock, delivered: { followed.items.withLock { $0.count } },
            watchdog: .seconds(watchdog) * TestDeadline.slowness, server: server, run: run)
        try await withThrowingTaskGroup { group in
            group.addTask { try await driver.drive() }
            group.addTask {
                try await watch(one, by: transport, at: server, run: run, followed: followed, clock: clock)
            }
            // The driver ends only by an error.
            try await group.next()
            group.cancelAll()
        }
    }

    /// What a watch has delivered so far.
    private final class Followed: Sendable {
        let items = Mutex<[SessionProgress]>([])
        let events = Mutex<[SessionEvent]>([])
        let states = Mutex<[WatchState]>([])
    }

    private static func watch(
        _ one: ClientCase, by transport: TherapyBridge.Transport, at server: MisbehavingServer, run: String,
        followed: Followed, clock: (any Clock<Duration>)? = nil
    ) async throws {
        let follow: @Sendable (WatchState) -> Void = { state in followed.states.withLock { $0.append(state) } }
        try await TherapyBridge.withClient(
            of: server.baseURL(run), tokens: tokens, options: options(one, clock: clock)
        ) { bridge in
            do {
                let last = one.options?.last_event_id
                if one.options?.all == true {
                    for try await event in bridge.events(after: last, by: transport, onState: follow) {
                        followed.events.withLock { $0.append(event) }
                    }
                } else {
                    let updates = bridge.progress(of: session, after: last, by: transport, onState: follow)
                    for try await item in updates { followed.items.withLock { $0.append(item) } }
                }
            } catch let end as WatchEnded {
                #expect(followed.states.withLock { $0.last } == .ended(end.reason), "\(one.name)")
            }
        }
        let items = followed.items.withLock { $0 }
        let events = followed.events.withLock { $0 }
        let expect = one.expect
        let log = try await log(run, at: server)
        let found = followed.states.withLock { $0 }
        #expect(log.unexpected == [], "\(one.name)")
        var reason: EndReason?
        if case .ended(let last) = found.last { reason = last }
        #expect(reason?.rawValue == expect.end, "\(one.name)")
        if let versions = expect.versions { #expect(items.map(\.version) == versions, "\(one.name)") }
        if let wanted = expect.events { #expect(events.map(words) == wanted, "\(one.name)") }
        if let wanted = expect.states { #expect(found.map(word) == wanted, "\(one.name)") }
        if let message = expect.message { #expect(Set(items.map(\.message)) == [message], "\(one.name)") }
        check(log, one)
    }

    /// Several requests at once, whose token the server refuses.
    private static func call(_ one: ClientCase, callers: Int, at server: MisbehavingServer) async throws {
        let run = "\(one.name)~swift"
        try await TherapyBridge.withClient(of: server.baseURL(run), tokens: tokens) { bridge in
            try await withThrowingTaskGroup { group in
                for _ in 0..<callers { group.addTask { _ = try await bridge.me() } }
                try await group.waitForAll()
            }
        }
        let log = try await log(run, at: server)
        #expect(log.unexpected == [], "\(one.name)")
        check(log, one)
    }

    private static func upload(
        _ one: ClientCase, checksums: Bool, to server: MisbehavingServer
    ) async throws {
        let run = "\(one.name)~swift-\(checksums)"
        let folder = FileManager.default.temporaryDirectory.appending(path: "tb-upload-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        // Random numbers one by one would keep the other cases from running.
        let random = try FileHandle(forReadingFrom: URL(filePath: "/dev/urandom"))
        let data = try random.read(upToCount: one.upload?.bytes ?? 0) ?? Data()
        var recording = Recording(file: folder.appending(path: "Gespräch.m4a"), patient: session)
        recording.chunkSize = one.upload?.chunk
        recording.sendsChecksums = checksums
        try data.write(to: recording.file)
        let told = Mutex<[Double]>([])
        var end = "stored"
        do {
            let sent = recording
            let stored = try await TherapyBridge.withClient(
                of: server.baseURL(run), tokens: tokens, options: options(one)
            ) { bridge in
                try await bridge.upload(sent) { sent, total in told.withLock { $0.append(Double(sent) / Double(total)) }
                }
            }
            #expect(stored.id == recording.session, "\(one.name)")
        } catch let error as APIError {
            end = String(error.status)
        }
        let log = try await log(run, at: server)
        #expect(log.unexpected == [], "\(one.name)")
        #expect(end == one.expect.end, "\(one.name)")
        #expect(log.metadata?["filename"] == "Gespräch.m4a", "\(one.name)")
        if end == "stored" {
            #expect(log.digest == SHA256.hash(data: data).map { String(format: "%02x", $0) }.joined(), "\(one.name)")
            #expect(told.withLock { [$0.first, $0.last] } == [0, 1], "\(one.name)")
        }
        check(log, one)
    }

    /// Compares what the server saw.
    private static func check(_ log: ServerLog, _ one: ClientCase) {
        let expect = one.expect
        if let ids = expect.last_event_ids { #expect(log.last_event_ids == ids, "\(one.name)") }
        if let tags = expect.tags { #expect(log.tags == tags, "\(one.name)") }
        if let tokens = expect.tokens { #expect(log.tokens == tokens, "\(one.name)") }
        if let refreshes = expect.refreshes { #expect(log.refreshes == refreshes, "\(one.name)") }
        if let creations = expect.creations { #expect(log.creations == creations, "\(one.name)") }
        if let leaked = expect.leaked { #expect(log.leaked == leaked, "\(one.name)") }
        // A client may come back later than the server asked for, and never earlier.
        for (gap, least) in zip(log.gaps, expect.gaps ?? []) { #expect(gap >= least, "\(one.name)") }
    }

    private static func word(_ state: WatchState) -> String {
        switch state {
        case .connecting: "connecting"
        case .live: "live"
        case .degraded: "degraded"
        case .catchingUp: "catching-up"
        case .offline: "offline"
        case .ended: "ended"
        }
    }

    private static func words(_ event: SessionEvent) -> String {
        switch event {
        case .ready: "ready"
        case .removed(let id): "session_removed \(names[id] ?? id)"
        case .progress(let progress, let isNew):
            [
                isNew ? "session_added" : progress.status.event,
                names[progress.sessionID] ?? progress.sessionID, String(progress.version),
            ].joined(separator: " ")
        }
    }
}
