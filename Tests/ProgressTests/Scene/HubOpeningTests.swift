import Domain
import Polling
import Store
import TestSupport
import Testing

@testable import Progress

/// How watchers are let in, and that nothing is left of those who do not stay.
@Suite("The door of the hub", .deadline) struct HubOpeningTests {
    /// Many who come at once, each for a session of its own.
    private func openAll(_ sessions: [SessionID], _ scene: HubScene) async throws -> [SubscribeOutcome] {
        try await withThrowingTaskGroup(of: SubscribeOutcome.self) { group in
            for session in sessions { group.addTask { try await scene.hub.subscribe(to: session, for: .random()) } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
    }

    @Test("A thousand who come at once share a few statements")
    func batches() async throws {
        try await withHub { scene in
            let sessions = (0..<1000).map { _ in scene.reader.addSession() }
            scene.reader.gate.shut()
            async let openings = openAll(sessions, scene)
            // Two statements are under way, and all the others wait for the next.
            try await scene.eventually { $0.waiting + scene.reader.openings.reduce(0, +) == 1000 }
            #expect(scene.reader.openings.count == 2)
            scene.reader.gate.open()
            let opened = try await openings.count { opening in
                if case .subscribed(_, .some) = opening { true } else { false }
            }
            #expect(opened == 1000)
            #expect(scene.reader.openings.count <= 1000 / Openings.Limits().batch + 3)
            #expect(scene.reader.openings.allSatisfy { $0 <= Openings.Limits().batch })
            #expect(scene.reader.openings.reduce(0, +) == 1000)
        }
    }

    @Test(
        "Who may not see the session is told why, and leaves nothing behind",
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

    @Test("A finished session is shown, and not watched", arguments: [SessionStatus.processed, .failed])
    func finished(status: SessionStatus) async throws {
        try await withHub { scene in
            let session = scene.reader.addSession(status)
            guard case .subscribed(let opening, nil) = try await scene.hub.subscribe(to: session, for: .random()) else {
                Issue.record("watched")
                return
            }
            #expect(opening.progress?.status == status)
            #expect(await scene.hub.watchedSessions == [])
            #expect(await scene.hub.admitted == 0)
        }
    }

    @Test("The transitions since a version come with the snapshot")
    func resumption() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            for status: SessionStatus in [.preprocessing, .transcribing, .transcribed] {
                scene.reader.commit(session, status)
            }
            let stream = try await scene.stream(of: session, after: 2)
            #expect(stream.opening.progress?.version == 4)
            #expect(stream.opening.transitions.map(\.version) == [3, 4])
        }
    }

    @Test("When all places are taken the next is turned away, until one is free")
    func rejected() async throws {
        try await withHub(admission: StreamAdmission(limit: 2, limitPerUser: 2)) { scene in
            let session = scene.reader.addSession()
            var streams = [try await scene.stream(of: session), try await scene.stream(of: session)]
            guard case .rejected = try await scene.hub.subscribe(to: session, for: .random()) else {
                Issue.record("not turned away")
                return
            }
            await scene.hub.closed(streams.removeLast().watch.watcher)
            _ = try await scene.stream(of: session)
        }
    }

    @Test("A reader that fails is the opener's to know, and leaves nothing behind")
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

    @Test("Who lets go of a watch without a socket frees the place")
    func dropped() async throws {
        try await withHub { scene in
            let sessions = (0..<100).map { _ in scene.reader.addSession() }
            for opening in try await openAll(sessions, scene) {
                guard case .subscribed(_, .some) = opening else {
                    Issue.record("not opened")
                    return
                }
            }
            try await scene.eventually { $0.watcherCount == 0 }
            #expect(await scene.hub.watchedSessions == [])
            #expect(await scene.hub.admitted == 0)
        }
    }

    @Test("Once there is a socket, its end frees the place, and letting go of the watch does not")
    func attached() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var watcher: WatcherID?
            do { watcher = try await scene.stream(of: session).watch.watcher }
            // Behind whatever letting go has caused.
            await scene.turn()
            #expect(await scene.hub.watcherCount == 1)
            await scene.hub.closed(try #require(watcher))
            #expect(await scene.hub.watchedSessions == [])
        }
    }

    // MARK: - The end

    @Test("Whoever waits to be let in when the hub stops is turned away, also one who comes later")
    func stopping() async throws {
        try await withHub { scene in
            let sessions = (0..<1500).map { _ in scene.reader.addSession() }
            scene.reader.gate.shut()
            async let openings = openAll(sessions, scene)
            // Some are being asked about, and more than one statement's worth wait.
            try await scene.eventually { $0.waiting + scene.reader.openings.reduce(0, +) == 1500 }
            try await scene.stop()
            let rejected = try await openings.count { opening in
                if case .rejected = opening { true } else { false }
            }
            #expect(rejected == 1500)
            #expect(await scene.hub.watchedSessions == [])
            guard case .rejected = try await scene.hub.subscribe(to: .random(), for: .random()) else {
                Issue.record("not turned away")
                return
            }
        }
    }

    /// The end of the reads and the moment at which the hub knows of it are two.
    @Test("Nobody is left waiting, whenever the hub stops", arguments: 0..<20)
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
                // Each comes to an end, and by no error, which would stop a client for good.
                try await group.waitForAll()
            }
        }
    }
}
