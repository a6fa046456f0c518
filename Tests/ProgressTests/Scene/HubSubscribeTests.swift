import Domain
import Polling
import Store
import TestSupport
import Testing

@testable import Progress

/// How subscriptions are authorized and counted, and what remains of those that get no stream.
@Suite("Subscriptions to the hub", .deadline) struct HubSubscribeTests {
    /// Subscribes one user to each session, all at once.
    private func subscribe(to sessions: [SessionID], _ scene: HubScene) async throws -> [SubscribeOutcome] {
        try await withThrowingTaskGroup(of: SubscribeOutcome.self) { group in
            for session in sessions { group.addTask { try await scene.hub.subscribe(to: session, for: .random()) } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
    }

    @Test("A thousand simultaneous subscriptions share a few statements")
    func batches() async throws {
        try await withHub { scene in
            let sessions = (0..<1000).map { _ in scene.reader.addSession() }
            scene.reader.gate.shut()
            async let outcomes = subscribe(to: sessions, scene)
            // Two statements are under way, and all other subscriptions wait for the next.
            try await scene.eventually { $0.pendingCount + scene.reader.requestCounts.reduce(0, +) == 1000 }
            #expect(scene.reader.requestCounts.count == 2)
            scene.reader.gate.open()
            let subscribed = try await outcomes.count { outcome in
                if case .subscribed(_, .some) = outcome { true } else { false }
            }
            #expect(subscribed == 1000)
            #expect(scene.reader.requestCounts.count <= 1000 / PendingSubscriptions.Limits().batch + 3)
            #expect(scene.reader.requestCounts.allSatisfy { $0 <= PendingSubscriptions.Limits().batch })
            #expect(scene.reader.requestCounts.reduce(0, +) == 1000)
        }
    }

    @Test(
        "A user without a right gets the verdict, and the watcher is removed",
        arguments: [
            SessionAuthorization.Verdict.notSignedIn, .inactive, .noSession,
            .found(role: .patient, relation: Relation(isPatient: false, isAssigned: false)),
        ])
    func refused(verdict: SessionAuthorization.Verdict) async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            let principal = Principal.random()
            scene.reader.refuse(principal, verdict)
            guard case .refused(verdict) = try await scene.hub.subscribe(to: session, for: principal) else {
                Issue.record("not refused")
                return
            }
            #expect(await scene.hub.watchedSessions == [])
        }
    }

    @Test("A finished session has a state and no watch", arguments: [SessionStatus.processed, .failed])
    func finished(status: SessionStatus) async throws {
        try await withHub { scene in
            let session = scene.reader.addSession(status)
            guard case .subscribed(let authorization, nil) = try await scene.hub.subscribe(to: session, for: .random())
            else {
                Issue.record("watched")
                return
            }
            #expect(authorization.progress?.status == status)
            #expect(await scene.hub.watchedSessions == [])
            #expect(await scene.hub.streamCount == 0)
        }
    }

    @Test("A resumed stream begins with the transitions since its version")
    func resumption() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            for status: SessionStatus in [.preprocessing, .transcribing, .transcribed] {
                scene.reader.commit(session, status)
            }
            let stream = try await scene.stream(of: session, after: 2)
            #expect(stream.authorization.progress?.version == 4)
            #expect(stream.authorization.transitions.map(\.version) == [3, 4])
        }
    }

    @Test("At the limit of streams, the hub rejects the next one until a stream is closed")
    func rejected() async throws {
        try await withHub(admission: StreamAdmission(limit: 2, limitPerUser: 2)) { scene in
            let session = scene.reader.addSession()
            var streams = [try await scene.stream(of: session), try await scene.stream(of: session)]
            guard case .rejected = try await scene.hub.subscribe(to: session, for: .random()) else {
                Issue.record("not rejected")
                return
            }
            await scene.hub.closed(streams.removeLast().watch.watcher)
            _ = try await scene.stream(of: session)
        }
    }

    @Test("A failed read throws to its caller, and the watcher is removed")
    func down() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            scene.reader.isDown = true
            await #expect(throws: FakeReader.Down.self) { try await scene.hub.subscribe(to: session, for: .random()) }
            #expect(await scene.hub.watchedSessions == [])
            scene.reader.isDown = false
            _ = try await scene.stream(of: session)
        }
    }

    @Test("The release of a watch without a socket ends its watcher")
    func dropped() async throws {
        try await withHub { scene in
            let sessions = (0..<100).map { _ in scene.reader.addSession() }
            for outcome in try await subscribe(to: sessions, scene) {
                guard case .subscribed(_, .some) = outcome else {
                    Issue.record("not subscribed")
                    return
                }
            }
            try await scene.eventually { $0.watcherCount == 0 }
            #expect(await scene.hub.watchedSessions == [])
            #expect(await scene.hub.streamCount == 0)
        }
    }

    @Test("The release of a watch does not end a watcher with a socket; the close of the socket does")
    func attached() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var watcher: WatcherID?
            do { watcher = try await scene.stream(of: session).watch.watcher }
            // Let the hub handle the release of the watch.
            await scene.turn()
            #expect(await scene.hub.watcherCount == 1)
            await scene.hub.closed(try #require(watcher))
            #expect(await scene.hub.watchedSessions == [])
        }
    }

    // MARK: - The stop of the hub

    @Test("When the hub stops, it rejects the pending subscriptions and every later one")
    func stopping() async throws {
        try await withHub { scene in
            let sessions = (0..<1500).map { _ in scene.reader.addSession() }
            scene.reader.gate.shut()
            async let outcomes = subscribe(to: sessions, scene)
            // Two statements are under way, and more subscriptions wait than fit into the next.
            try await scene.eventually { $0.pendingCount + scene.reader.requestCounts.reduce(0, +) == 1500 }
            try await scene.stop()
            let rejected = try await outcomes.count { outcome in
                if case .rejected = outcome { true } else { false }
            }
            #expect(rejected == 1500)
            #expect(await scene.hub.watchedSessions == [])
            guard case .rejected = try await scene.hub.subscribe(to: .random(), for: .random()) else {
                Issue.record("not rejected")
                return
            }
        }
    }

    /// The race: the hub learns of the end of the reads later than they end.
    @Test("Every subscription gets an answer, whenever the hub stops", arguments: 0..<20)
    func stoppingAnyTime(round: Int) async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<50 {
                    group.addTask {
                        for _ in 0..<20 { _ = try await scene.hub.subscribe(to: session, for: .random()) }
                    }
                }
                for _ in 0..<(round * 10) { await Task.yield() }
                try await scene.stop()
                // No subscription may throw: an error ends the retries of a client.
                try await group.waitForAll()
            }
        }
    }
}
