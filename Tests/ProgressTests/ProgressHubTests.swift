import Domain
import Logging
import Testing

@testable import Progress

/// The hub at work over a database in memory.
@Suite struct ProgressHubTests {
    private let reader = FakeReader()
    private static let never = Duration.seconds(3600)
    private static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// Lends a running hub, and stops it.
    private func withHub<Result>(
        pollInterval: Duration = never, _ body: (ProgressHub) async throws -> Result
    ) async throws -> Result {
        let hub = ProgressHub(reader: reader, pollInterval: pollInterval, logger: Self.quiet)
        let running = Task { try await hub.run() }
        defer { running.cancel() }
        return try await body(hub)
    }

    private func watch(_ session: SessionID, _ hub: ProgressHub, at version: Int64 = 1) -> ProgressSubscription {
        let subscription = hub.subscribe(to: session)
        subscription.begin(at: version)
        return subscription
    }

    /// The next news, or a failed test.
    private func news(of subscription: ProgressSubscription) async throws -> WatcherNews {
        try #require(await subscription.watcher.next(until: .now + .seconds(120)))
    }

    /// The news up to the one with a version.
    private func news(of subscription: ProgressSubscription, upTo version: Int64) async throws -> [WatcherNews] {
        var all: [WatcherNews] = []
        repeat { all.append(try await news(of: subscription)) } while all.last?.latest?.version != version
        return all
    }

    @Test("A hint brings the change to each watcher of that session")
    func hint() async throws {
        try await withHub { hub in
            let session = reader.addSession()
            let subscriptions = [watch(session, hub), watch(session, hub)]
            let version = reader.commit(session)
            hub.receive(.hints([ChangeHint(session: session, version: version)]))
            for subscription in subscriptions {
                let news = try await news(of: subscription, upTo: version)
                #expect(news.last?.latest?.status == .transcribing)
                #expect(news.first?.rightsEpoch == 1, "whoever begins is told the epoch")
            }
        }
    }

    @Test("A change before the first snapshot, whose hint comes before it too, is not missed")
    func hintBeforeSnapshot() async throws {
        try await withHub { hub in
            let session = reader.addSession()
            let subscription = hub.subscribe(to: session)
            let version = reader.commit(session)
            hub.receive(.hints([ChangeHint(session: session, version: version)]))
            subscription.begin(at: 1)
            _ = try await news(of: subscription, upTo: version)
        }
    }

    @Test("After a gap everything watched is read")
    func resync() async throws {
        try await withHub { hub in
            let sessions = (0..<1200).map { _ in reader.addSession() }
            let subscriptions = sessions.map { watch($0, hub) }
            for session in sessions { reader.commit(session) }
            hub.receive(.resync)
            for subscription in subscriptions { _ = try await news(of: subscription, upTo: 2) }
        }
    }

    @Test("The poll finds what no hint told of")
    func poll() async throws {
        try await withHub(pollInterval: .milliseconds(20)) { hub in
            let session = reader.addSession()
            let subscription = watch(session, hub)
            for _ in 0..<5 {
                let version = reader.commit(session)
                _ = try await news(of: subscription, upTo: version)
            }
        }
    }

    @Test("Without a poll, what is committed without a hint soon after news or an opening is found after a pause")
    func pause() async throws {
        try await withHub { hub in
            let session = reader.addSession()
            let subscription = watch(session, hub)
            // Each finds the pause that the one before began.
            for _ in 0..<3 {
                let version = reader.commit(session)
                _ = try await news(of: subscription, upTo: version)
            }
        }
    }

    @Test("Hints that lie cause a read, and no news")
    func forgedHints() async throws {
        try await withHub { hub in
            let session = reader.addSession()
            let subscription = watch(session, hub)
            hub.receive(
                .hints([ChangeHint(session: session, version: 999), ChangeHint(session: .random(), version: 2)]))
            // Said to be deleted, and is not.
            hub.receive(.hints([ChangeHint(session: session, version: 0)]))
            hub.receive(.degraded)
            hub.receive(.workWaiting)
            let version = reader.commit(session)
            hub.receive(.hints([ChangeHint(session: session, version: version)]))
            let news = try await news(of: subscription, upTo: version)
            #expect(!news.contains { $0.isGone || $0.degraded != nil })
            #expect(news.compactMap(\.latest?.version) == [version])
        }
    }

    @Test("When reads fail the watchers are told once, and when they work again once, with what was missed")
    func degraded() async throws {
        try await withHub(pollInterval: .milliseconds(10)) { hub in
            let session = reader.addSession()
            let subscription = watch(session, hub)
            _ = try await news(of: subscription)
            reader.isDown = true
            let failing = try await news(of: subscription)
            #expect(failing.degraded == true)
            #expect(failing.latest == nil)
            let version = reader.commit(session)
            // The reads that fail now say nothing new.
            let failures = reader.failures
            while reader.failures < failures + 3 { await Task.yield() }
            #expect(await subscription.watcher.next(until: .now) == nil)
            reader.isDown = false
            let recovered = try await news(of: subscription)
            #expect(recovered.degraded == false)
            let latest = if let latest = recovered.latest { latest } else { try await news(of: subscription).latest }
            #expect(latest?.version == version)
        }
    }

    @Test("A read that failed is made again without a hint or the poll")
    func failedReadIsRepeated() async throws {
        try await withHub { hub in
            let session = reader.addSession()
            let subscription = watch(session, hub)
            reader.isDown = true
            let version = reader.commit(session)
            hub.receive(.hints([ChangeHint(session: session, version: version)]))
            while try await news(of: subscription).degraded != true {}
            reader.isDown = false
            #expect(try await news(of: subscription, upTo: version).contains { $0.degraded == false })
        }
    }

    @Test("A watcher that comes while reads fail is told when they work again")
    func openedWhileDegraded() async throws {
        try await withHub(pollInterval: .milliseconds(10)) { hub in
            let first = watch(reader.addSession(), hub)
            reader.isDown = true
            while try await news(of: first).degraded != true {}
            let session = reader.addSession()
            let late = watch(session, hub)
            let version = reader.commit(session)
            reader.isDown = false
            _ = try await news(of: late, upTo: version)
        }
    }

    @Test("A change of rights reaches every watcher, no later than the news read with it")
    func rights() async throws {
        try await withHub { hub in
            let sessions = [reader.addSession(), reader.addSession()]
            let subscriptions = sessions.map { watch($0, hub) }
            hub.receive(.resync)
            for subscription in subscriptions { _ = try await news(of: subscription) }
            let epoch = reader.changeRights()
            let version = reader.commit(sessions[0])
            hub.receive(.rightsChanged)
            let concerned = try await news(of: subscriptions[0])
            #expect(concerned.rightsEpoch == epoch, "with the news or before it")
            let latest =
                if let latest = concerned.latest { latest } else { try await news(of: subscriptions[0]).latest }
            #expect(latest?.version == version)
            #expect(try await news(of: subscriptions[1]).rightsEpoch == epoch)
        }
    }

    /// The notification of the rights is lost: what is read next carries the epoch all the same.
    @Test("A hint of a change is enough to learn that rights have changed")
    func rightsWithoutNotice() async throws {
        try await withHub { hub in
            let session = reader.addSession()
            let subscription = watch(session, hub)
            hub.receive(.resync)
            _ = try await news(of: subscription)
            let epoch = reader.changeRights()
            let version = reader.commit(session)
            hub.receive(.hints([ChangeHint(session: session, version: version)]))
            #expect(try await news(of: subscription).rightsEpoch == epoch)
        }
    }

    @Test("A deleted session is told to its watchers")
    func deleted() async throws {
        try await withHub { hub in
            let session = reader.addSession()
            let subscription = watch(session, hub)
            reader.delete(session)
            hub.receive(.hints([ChangeHint(session: session, version: 0)]))
            while try await !news(of: subscription).isGone {}
        }
    }

    @Test("At its end the hub tells every watcher, also one that comes later")
    func closing() async throws {
        let hub = ProgressHub(reader: reader, pollInterval: Self.never, logger: Self.quiet)
        let early = watch(reader.addSession(), hub)
        let running = Task { try await hub.run() }
        running.cancel()
        try await running.value
        while try await !news(of: early).isClosing {}
        let late = hub.subscribe(to: reader.addSession())
        #expect(try await news(of: late).isClosing)
    }

    @Test("A subscription ends when it is released")
    func release() async throws {
        try await withHub { hub in
            let session = reader.addSession()
            do {
                let first = watch(session, hub)
                let second = hub.subscribe(to: session)
                #expect(hub.watcherCount == 2)
                withExtendedLifetime((first, second)) {}
            }
            #expect(hub.watcherCount == 0)
        }
    }
}
