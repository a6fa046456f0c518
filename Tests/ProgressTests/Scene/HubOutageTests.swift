import Domain
import TestSupport
import Testing

@testable import Progress

/// The database is down for a while.
@Suite("Hub in an outage of the database", .deadline) struct HubOutageTests {
    @Test("Watchers get degraded once, recovered once, and what they missed")
    func degraded() async throws {
        try await withHub(pollInterval: .milliseconds(10)) { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            scene.reader.isDown = true
            scene.advance(by: .milliseconds(10))
            #expect(try await stream.next() == .degraded)
            let version = scene.reader.commit(session)
            // More failed reads cause no message.
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

    @Test("The hub repeats a failed reading without a hint or a poll")
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

    @Test("A watcher that gets its socket in an outage gets degraded, and recovered after it")
    func attachedMeanwhile() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var first = try await scene.stream(of: session)
            guard case .subscribed(_, let watch?) = try await scene.hub.subscribe(to: session, for: .random()) else {
                Issue.record("not subscribed")
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

    /// The race that once stopped the program: clients come and go while no read begins.
    @Test("Clients can come and go in an outage")
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
                // The reads begin again after some of these clients.
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
}
