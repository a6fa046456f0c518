import Domain
import Testing

@testable import Progress

/// A watcher's mailbox.
@Suite struct ProgressWatcherTests {
    private let session = SessionID.random()
    private let watcher: ProgressWatcher
    /// So far away that no test gets there.
    private var never: ContinuousClock.Instant { .now + .seconds(3600) }

    init() {
        var machine = HubStateMachine()
        watcher = ProgressWatcher(session: session, id: machine.subscribe(to: session))
    }

    private func percentage(_ version: Int64, _ progress: Int) -> SessionReading {
        SessionReading(progress: sample(session, version: version, progress: progress), transitions: [])
    }

    @Test("A slow reader finds the newest percentage alone")
    func overwrites() async {
        for version in 2...1000 as ClosedRange<Int64> {
            watcher.post(percentage(version, Int(version) % 100), after: version - 1)
        }
        let news = await watcher.next()
        #expect(news?.latest?.version == 1000)
        #expect(news?.transitions == [])
        #expect(news?.missedTransitions == false)
        #expect(await watcher.next(until: .now) == nil, "taken is taken")
    }

    @Test("Transitions wait in order, up to the limit, whatever overwrites the state; the state itself is not doubled")
    func keepsTransitions() async {
        let count = Int64(ProgressWatcher.transitionLimit)
        for version in 2...(count + 1) {
            watcher.post(reading(session, version: version, transitions: [version]), after: version - 1)
        }
        let news = await watcher.next()
        #expect(news?.transitions.map(\.version) == Array(2...count))
        #expect(news?.latest?.version == count + 1)
        #expect(news?.missedTransitions == false)
    }

    @Test("A percentage after the last transition leaves that one among the transitions")
    func transitionBeforePercentage() async {
        watcher.post(reading(session, version: 2, transitions: [2]), after: 1)
        watcher.post(percentage(3, 40), after: 2)
        let news = await watcher.next()
        #expect(news?.transitions.map(\.version) == [2])
        #expect(news?.latest?.version == 3)
    }

    @Test("A reading that goes back further than the watcher is cut to what is new to it")
    func cutsToNews() async {
        watcher.post(reading(session, version: 9, transitions: [3, 5, 7]), after: 5)
        #expect(await watcher.next()?.transitions.map(\.version) == [7])
    }

    @Test("Past the limit the mailbox holds no transitions but the word that there are some to be read")
    func overflows() async {
        let count = Int64(ProgressWatcher.transitionLimit)
        for version in 2...(count + 2) {
            watcher.post(reading(session, version: version, transitions: [version]), after: version - 1)
        }
        // What comes later is no more complete than what was dropped.
        watcher.post(reading(session, version: count + 3, transitions: [count + 3]), after: count + 2)
        let news = await watcher.next()
        #expect(news?.missedTransitions == true)
        #expect(news?.latest?.version == count + 3)

        watcher.post(reading(session, version: count + 5, transitions: [count + 4]), after: count + 3)
        let later = await watcher.next()
        #expect(later?.missedTransitions == false, "the word is for one taking")
        #expect(later?.transitions.map(\.version) == [count + 4])
    }

    @Test("Everything that waits is taken together")
    func takesTogether() async {
        watcher.post { $0.rightsEpoch = 4 }
        watcher.post { $0.degraded = true }
        watcher.post { $0.degraded = false }
        watcher.post(percentage(2, 10), after: 1)
        watcher.post { $0.isGone = true }
        watcher.post { $0.isClosing = true }
        let news = await watcher.next()
        #expect(news?.rightsEpoch == 4)
        #expect(news?.degraded == false, "the last word counts")
        #expect(news?.latest?.version == 2)
        #expect(news?.isGone == true)
        #expect(news?.isClosing == true)
        #expect(await watcher.next(until: .now) == nil)
    }

    @Test("A waiting reader is woken")
    func wakes() async {
        async let news = watcher.next()
        await Task.yield()
        watcher.post(percentage(2, 10), after: 1)
        #expect(await news?.latest?.version == 2)
    }

    @Test("A wake-up without news is no news")
    func emptyPost() async {
        async let news = watcher.next()
        for _ in 0..<100 {
            watcher.post { _ in }
            await Task.yield()
        }
        watcher.post(percentage(2, 10), after: 1)
        #expect(await news?.latest?.version == 2)
    }

    @Test("The deadline ends the wait")
    func deadline() async {
        #expect(await watcher.next(until: .now + .milliseconds(10)) == nil)
        #expect(await watcher.next(until: .now - .seconds(1)) == nil)
    }

    @Test("News that is there is taken, however little time there is")
    func newsBeforeDeadline() async {
        watcher.post(percentage(2, 10), after: 1)
        #expect(await watcher.next(until: .now - .seconds(1))?.latest?.version == 2)
    }

    @Test("A cancelled wait ends with nothing, whether it had begun or not")
    func cancelled() async {
        let waiting = Task { await watcher.next() }
        await Task.yield()
        waiting.cancel()
        #expect(await waiting.value == nil)
        let born = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await watcher.next(until: never)
        }
        #expect(await born.value == nil)
    }

    /// The race: a post at the very moment at which the reader gives up.
    ///
    /// What it posts is either taken by that reader or left for the next one.
    @Test("A cancelled wait loses nothing")
    func cancellationLosesNothing() async {
        for version in 2...2000 as ClosedRange<Int64> {
            let reader = Task { await watcher.next() }
            if version % 3 == 0 { await Task.yield() }
            let canceller = Task { reader.cancel() }
            watcher.post(percentage(version, 10), after: version - 1)
            await canceller.value
            let taken = await reader.value
            let left = await watcher.next(until: .now)
            let latest = taken?.latest ?? left?.latest
            guard latest?.version == version else {
                Issue.record("version \(version) was lost")
                return
            }
        }
    }

    /// The same race against the deadline.
    @Test("A wait that runs out loses nothing")
    func deadlineLosesNothing() async {
        for version in 2...500 as ClosedRange<Int64> {
            let deadline = ContinuousClock.now + .microseconds(200)
            async let waited = watcher.next(until: deadline)
            try? await Task.sleep(until: deadline, clock: .continuous)
            watcher.post(percentage(version, 10), after: version - 1)
            let taken = await waited
            let left = taken == nil ? await watcher.next(until: never) : nil
            guard (taken ?? left)?.latest?.version == version else {
                Issue.record("version \(version) was lost")
                return
            }
        }
    }
}
