import Domain
import Store
import TestSupport
import Testing

@testable import Progress

/// The hub performs what its state machine decides.
@Suite("Running hub", .deadline) struct ProgressHubTests {
    // MARK: - News

    @Test("After a hint, each watcher of the session gets the state and the transitions before it")
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

    @Test("A watcher gets a change between its snapshot and its socket")
    func changeBeforeSocket() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            guard
                case .subscribed(let authorization, let watch?) = try await scene.hub.subscribe(
                    to: session, for: .random())
            else {
                Issue.record("not subscribed")
                return
            }
            #expect(authorization.progress?.version == 1)
            let version = scene.reader.commit(session)
            await scene.hint(session, version)
            try await scene.eventually { _ in scene.reader.readings > 0 }
            var inbox = scene.sink.inbox(of: watch.watcher)
            await scene.hub.attach(watch)
            #expect(await inbox.next() == .state(sample(session, version: 2), after: []))
        }
    }

    @Test("A snapshot includes a change whose hint came before it")
    func hintBeforeSnapshot() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            scene.reader.gate.shut()
            async let stream = scene.stream(of: session)
            try await scene.eventually { $0.watchedSessions == [session] }
            let version = scene.reader.commit(session)
            await scene.hint(session, version)
            scene.reader.gate.open()
            #expect(try await stream.authorization.progress?.version == version)
        }
    }

    @Test("After a resync, the hub reads every watched session")
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

    @Test("The poll finds a change without a hint, and reads nothing if nothing was committed")
    func poll() async throws {
        try await withHub(pollInterval: .milliseconds(10)) { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            for _ in 0..<5 {
                let version = scene.reader.commit(session)
                scene.advance(by: .milliseconds(10))
                #expect(try await stream.states(upTo: version).count == 1)
            }
            // Let the pauses end.
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

    @Test("A change without a hint soon after news or a snapshot is found after a pause, without a poll")
    func pause() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            // The pause that each round begins finds the change of the next round.
            for _ in 0..<3 {
                let version = scene.reader.commit(session)
                scene.advance(by: Pauses.length)
                #expect(try await stream.nextState().version == version)
            }
        }
    }

    @Test("A forged hint causes a read and no message")
    func forgedHints() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            await scene.hint(session, 999)
            await scene.hint(.random(), 2)
            // This hint says that the session was deleted.
            await scene.hint(session, 0)
            await scene.hub.receive([.degraded, .workWaiting, .hints([])])
            let version = scene.reader.commit(session)
            await scene.hint(session, version)
            #expect(try await stream.states(upTo: version) == [version])
        }
    }

    @Test(
        "When a full socket has room again, its watcher gets what it missed",
        arguments: [DeliveryException.full, .refused])
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

    @Test("A finished session ends its stream, which is counted until its socket is closed")
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
            #expect(await scene.hub.streamCount == 0)
        }
    }

    @Test("A message to a closed socket removes the watcher")
    func gone() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            let stream = try await scene.stream(of: session)
            scene.sink.setException(.gone, for: stream.watch.watcher)
            let version = scene.reader.commit(session)
            await scene.hint(session, version)
            try await scene.eventually { $0.watchedSessions.isEmpty && $0.streamCount == 0 }
        }
    }

    // MARK: - Rights

    @Test("When a right ends, the watcher gets revoked and nothing after it")
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

    /// The notification of the change of rights is lost, but the next read returns the new epoch.
    @Test("A read after any hint shows that rights have changed")
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

    /// A sign-in expires: no row changes, and no notification comes.
    @Test("The regular check finds the end of a right within 30 seconds, without a hint")
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

    @Test("When a session is deleted, its watchers get revoked")
    func deleted() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            scene.reader.delete(session)
            await scene.hint(session, 0)
            #expect(try await stream.next() == .revoked(session))
        }
    }

    @Test("An expired token and the maximum age of a stream each have their own last message")
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
            #expect(await scene.hub.streamCount == 0)
            #expect(await scene.hub.watchedSessions == [])
        }
    }
}
