import Domain
import TestSupport
import Testing

@testable import Progress

/// The database is down and comes back; and watchers within the program.
@Suite("The hub through an outage", .deadline) struct HubOutageTests {
    @Test("When reads fail the watchers are told once, and when they work again once, with what was missed")
    func degraded() async throws {
        try await withHub(pollInterval: .milliseconds(10)) { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            scene.reader.isDown = true
            scene.advance(by: .milliseconds(10))
            #expect(try await stream.next() == .degraded)
            let version = scene.reader.commit(session)
            // The reads that fail now say nothing new.
            for _ in 0..<3 {
                let failures = scene.reader.failures
                scene.advance(by: .milliseconds(10))
                try await scene.eventually { _ in scene.reader.failures > failures }
            }
            scene.reader.isDown = false
            scene.advance(by: .milliseconds(10))
            #expect(try await stream.next() == .recovered)
            scene.advance(by: HubScene.longestDelay)
            #expect(try await stream.nextState().version == version)
        }
    }

    @Test("A reading that failed is made again without a hint or the poll")
    func repeated() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            scene.reader.isDown = true
            let version = scene.reader.commit(session)
            await scene.hint(session, version)
            #expect(try await stream.next() == .degraded)
            scene.reader.isDown = false
            scene.advance(by: HubScene.longestDelay)
            #expect(try await stream.next() == .recovered)
            #expect(try await stream.nextState().version == version)
        }
    }

    @Test("Who gets a socket while reads fail is told so, and when they work again")
    func openedMeanwhile() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var first = try await scene.stream(of: session)
            guard case .subscribed(_, let watch?) = try await scene.hub.subscribe(to: session, for: .random()) else {
                Issue.record("not opened")
                return
            }
            var inbox = scene.sink.inbox(of: watch.watcher)
            scene.reader.isDown = true
            await scene.hub.receive([.resync])
            #expect(try await first.next() == .degraded)
            await scene.hub.attach(watch)
            #expect(await inbox.next() == .degraded)
            scene.reader.isDown = false
            scene.advance(by: HubScene.longestDelay)
            #expect(try await first.next() == .recovered)
            #expect(await inbox.next() == .recovered)
        }
    }

    /// The race that stopped the program: while the database is down nothing is read, and clients come and go.
    @Test("Clients who come and go during an outage do no harm")
    func comingsAndGoings() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var first = try await scene.stream(of: session)
            scene.reader.isDown = true
            await scene.hub.receive([.resync])
            #expect(try await first.next() == .degraded)
            await scene.hub.closed(first.watch.watcher)
            scene.reader.isDown = false
            for version in 2...20 as ClosedRange<Int64> {
                // Somewhere in the middle the reads begin again.
                scene.advance(by: .milliseconds(10))
                scene.reader.commit(session)
                let stream = try await scene.stream(of: session)
                await scene.hint(session, version + 1)
                await scene.hub.closed(stream.watch.watcher)
            }
            var last = try await scene.stream(of: session)
            let version = scene.reader.commit(session)
            await scene.hint(session, version)
            scene.advance(by: HubScene.longestDelay)
            var message = try await last.next()
            while message == .degraded || message == .recovered { message = try await last.next() }
            #expect(message == .state(sample(session, version: version), after: []))
        }
    }

    // MARK: - Watchers within the program

    @Test("A watcher within the program is given the state as it stands, then what is newer")
    func states() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            scene.reader.commit(session)
            var states = await scene.hub.states(of: session).makeAsyncIterator()
            #expect(await states.next()?.version == 2)
            scene.reader.commit(session)
            let version = scene.reader.commit(session)
            await scene.hint(session, version)
            #expect(await states.next()?.version == version)
        }
    }

    @Test("One that is slow is given the newest state alone")
    func slow() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            var states = await scene.hub.states(of: session).makeAsyncIterator()
            for _ in 0..<5 {
                let version = scene.reader.commit(session)
                await scene.hint(session, version)
                _ = try await stream.states(upTo: version)
            }
            #expect(await states.next()?.version == 6)
        }
    }

    @Test("It ends when its session is deleted, and at once when there is none")
    func deleted() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var states = await scene.hub.states(of: session).makeAsyncIterator()
            #expect(await states.next()?.version == 1)
            scene.reader.delete(session)
            await scene.hint(session, 0)
            #expect(await states.next() == nil)
            var none = await scene.hub.states(of: .random()).makeAsyncIterator()
            #expect(await none.next() == nil)
            try await scene.eventually { $0.watchedSessions.isEmpty }
        }
    }

    @Test("Who lets go of it leaves nothing behind")
    func dropped() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            do { _ = await scene.hub.states(of: session) }
            try await scene.eventually { $0.watchedSessions.isEmpty && $0.localSubscriberCount == 0 }
        }
    }

    @Test("It ends when the hub stops, and at once when it has stopped")
    func stopping() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            let states = await scene.hub.states(of: session)
            try await scene.stop()
            // Whatever it was given before, the end comes.
            for await state in states { #expect(state.version == 1) }
            for await _ in await scene.hub.states(of: session) { Issue.record("a state after the end") }
            try await scene.eventually { $0.watchedSessions.isEmpty }
        }
    }
}
