import Domain
import Store
import TestSupport
import Testing

@testable import Progress

/// The hub at work: how what it decides comes about.
@Suite("The hub at work", .deadline) struct ProgressHubTests {
    // MARK: - News

    @Test("A hint brings the change to each watcher of that session, with the transitions between")
    func hint() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var streams = [try await scene.stream(of: session), try await scene.stream(of: session)]
            scene.reader.commit(session, .preprocessing)
            let version = scene.reader.commit(session, .transcribing)
            await scene.hint(session, version)
            for index in streams.indices {
                let (newest, after) = try await streams[index].nextState()
                #expect(newest == 3)
                #expect(after == [2])
            }
        }
    }

    @Test("A change between a snapshot and the socket is not missed")
    func changeBeforeSocket() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            guard case .subscribed(let opening, let watch?) = try await scene.hub.subscribe(to: session, for: .random())
            else {
                Issue.record("not opened")
                return
            }
            #expect(opening.progress?.version == 1)
            let version = scene.reader.commit(session)
            await scene.hint(session, version)
            try await scene.eventually { _ in scene.reader.readings > 0 }
            var inbox = scene.sink.inbox(of: watch.watcher)
            await scene.hub.attach(watch)
            #expect(await inbox.next() == .state(sample(session, version: 2), after: []))
        }
    }

    @Test("A change before the snapshot, whose hint comes before it too, is not missed")
    func hintBeforeSnapshot() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            scene.reader.gate.shut()
            async let opening = scene.stream(of: session)
            try await scene.eventually { $0.watchedSessions == [session] }
            let version = scene.reader.commit(session)
            await scene.hint(session, version)
            scene.reader.gate.open()
            #expect(try await opening.opening.progress?.version == version)
        }
    }

    @Test("After a gap everything watched is read")
    func resync() async throws {
        try await withHub { scene in
            let sessions = (0..<1200).map { _ in scene.reader.addSession() }
            var streams: [HubScene.Stream] = []
            for session in sessions { streams.append(try await scene.stream(of: session)) }
            for session in sessions { scene.reader.commit(session) }
            await scene.hub.receive([.resync])
            for index in streams.indices { #expect(try await streams[index].nextState().version == 2) }
        }
    }

    @Test("The poll finds what no hint told of, and reads nothing when nothing was committed")
    func poll() async throws {
        try await withHub(pollInterval: .milliseconds(10)) { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            for _ in 0..<5 {
                let version = scene.reader.commit(session)
                scene.advance(by: .milliseconds(10))
                #expect(try await stream.states(upTo: version).count == 1)
            }
            // The pauses end, and then it is quiet.
            while await scene.hub.hasPauses {
                scene.advance(by: Pauses.length)
                await scene.turn()
                try await scene.eventually { $0.machine.reads.isAtRest }
            }
            let readings = scene.reader.readings
            try await scene.polls(20, every: .milliseconds(10))
            #expect(scene.reader.readings == readings)
        }
    }

    @Test("Without a poll, what is committed without a hint soon after news or an opening is found after a pause")
    func pause() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            // Each finds the pause that the one before began.
            for _ in 0..<3 {
                let version = scene.reader.commit(session)
                scene.advance(by: Pauses.length)
                #expect(try await stream.nextState().version == version)
            }
        }
    }

    @Test("Hints that lie cause a read, and no news")
    func forgedHints() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            await scene.hint(session, 999)
            await scene.hint(.random(), 2)
            // Said to be deleted, and is not.
            await scene.hint(session, 0)
            await scene.hub.receive([.degraded, .workWaiting, .hints([])])
            let version = scene.reader.commit(session)
            await scene.hint(session, version)
            #expect(try await stream.states(upTo: version) == [version])
        }
    }

    @Test("What a full socket misses is read again when there is room", arguments: [DeliveryException.full, .refused])
    func full(exception: DeliveryException) async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            scene.sink.setException(exception, for: stream.watch.watcher)
            for status: SessionStatus in [.preprocessing, .transcribing, .transcribed] {
                let version = scene.reader.commit(session, status)
                let readings = scene.reader.readings
                await scene.hint(session, version)
                try await scene.eventually { _ in scene.reader.readings > readings }
            }
            scene.sink.setException(nil, for: stream.watch.watcher)
            await scene.hub.ready(stream.watch.watcher)
            if exception == .full { #expect(try await stream.nextState() == (2, [])) }
            #expect(try await stream.nextState() == (4, exception == .full ? [3] : [2, 3]))
        }
    }

    @Test("A finished session ends the stream: nothing follows, and its place is free when the socket is gone")
    func finished() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            let version = scene.reader.commit(session, .failed)
            await scene.hint(session, version)
            #expect(try await stream.nextState().version == version)
            try await scene.eventually { $0.watcherCount == 0 }
            let next = scene.reader.commit(session, .pending)
            await scene.hint(session, next)
            await scene.hub.closed(stream.watch.watcher)
            #expect(await scene.hub.watchedSessions == [])
            #expect(await scene.hub.admitted == 0)
        }
    }

    @Test("Deliveries to a socket that is gone free its place")
    func gone() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            let stream = try await scene.stream(of: session)
            scene.sink.setException(.gone, for: stream.watch.watcher)
            let version = scene.reader.commit(session)
            await scene.hint(session, version)
            try await scene.eventually { $0.watchedSessions.isEmpty && $0.admitted == 0 }
        }
    }

    // MARK: - Rights

    @Test("When the right ends the watcher is told so and nothing after it")
    func revoked() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            let principal = Principal.random()
            var (stream, other) = (
                try await scene.stream(of: session, for: principal), try await scene.stream(of: session)
            )
            scene.reader.refuse(principal, .inactive)
            await scene.hub.receive([.rightsChanged])
            #expect(try await stream.next() == .revoked(session))
            let version = scene.reader.commit(session)
            await scene.hint(session, version)
            #expect(try await other.nextState().version == version)
            try await scene.eventually { $0.watcherCount == 1 }
        }
    }

    /// The notification of the rights is lost: what is read next carries the epoch all the same.
    @Test("A hint of a change is enough to learn that rights have changed")
    func rightsWithoutNotice() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            let principal = Principal.random()
            var (stream, other) = (
                try await scene.stream(of: session, for: principal), try await scene.stream(of: session)
            )
            scene.reader.refuse(principal, .notSignedIn)
            let version = scene.reader.commit(session)
            await scene.hint(session, version)
            #expect(try await stream.next() == .revoked(session))
            #expect(try await other.nextState().version == version)
        }
    }

    /// A sign-in runs out by itself: no row changes, and nothing is announced.
    @Test("Without any hint, the end of a right is found within 30 seconds")
    func regularCheck() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            let principal = Principal.random()
            var stream = try await scene.stream(of: session, for: principal)
            scene.reader.refuse(principal, .notSignedIn)
            for _ in 0..<30 {
                scene.advance(by: .seconds(1))
                await scene.turn()
            }
            #expect(try await stream.next() == .revoked(session))
        }
    }

    @Test("A deleted session is told to its watchers")
    func deleted() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            scene.reader.delete(session)
            await scene.hint(session, 0)
            #expect(try await stream.next() == .revoked(session))
        }
    }

    @Test("A token that expires and a stream that has lived long enough end by their own words")
    func ends() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var (first, second) = (try await scene.stream(of: session), try await scene.stream(of: session))
            await scene.hub.expired(first.watch.watcher)
            await scene.hub.outlived(second.watch.watcher)
            #expect(try await first.next() == .expired(session))
            #expect(try await second.next() == .reconnect)
            #expect(await scene.hub.watcherCount == 0)
            for stream in [first, second] { await scene.hub.closed(stream.watch.watcher) }
            #expect(await scene.hub.admitted == 0)
            #expect(await scene.hub.watchedSessions == [])
        }
    }
}
