import Domain
import TestSupport
import Testing

@testable import Progress

/// Parts of the program that subscribe to a session.
@Suite("Local subscribers of a running hub", .deadline) struct HubLocalSubscriberTests {
    @Test("A local subscriber gets the present state, then each newer one")
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

    @Test("A slow local subscriber gets only the newest state")
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
            // The hub serves the streams before the local subscribers.
            await scene.turn()
            #expect(await states.next()?.version == 6)
        }
    }

    @Test("The sequence ends when its session is deleted, and at once if the session does not exist")
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

    @Test("The release of the sequence removes the watcher")
    func dropped() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            do { _ = await scene.hub.states(of: session) }
            try await scene.eventually { $0.watchedSessions.isEmpty && $0.localSubscriberCount == 0 }
        }
    }

    @Test("The sequence ends when the hub stops, and at once if the hub has stopped")
    func stopping() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            let states = await scene.hub.states(of: session)
            try await scene.stop()
            // A state may come first, but the sequence must end.
            for await state in states { #expect(state.version == 1) }
            for await _ in await scene.hub.states(of: session) { Issue.record("a state after the end") }
            try await scene.eventually { $0.watchedSessions.isEmpty }
        }
    }
}
