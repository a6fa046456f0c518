import Foundation
import Glibc
import Synchronization
import TestSupport
import TestTime
import Testing

@testable import Polling

/// A socket pair, closed at the end.
private final class Pair: Sendable {
    let one: CInt
    let other: CInt

    init() throws {
        var ends: [CInt] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0, &ends) == 0 else {
            throw POSIXError(.EMFILE)
        }
        (one, other) = (ends[0], ends[1])
    }

    deinit {
        close(one)
        close(other)
    }
}

/// Passes each call to a closure.
private final class Handler: PollHandler {
    let body: @Sendable (CInt, PollReadiness) -> Void
    init(_ body: @escaping @Sendable (CInt, PollReadiness) -> Void) { self.body = body }
    func pollerReady(_ descriptor: CInt, _ readiness: PollReadiness) { body(descriptor, readiness) }
}

/// A number that threads share.
private final class Counter: Sendable {
    private let count = Atomic(0)
    var value: Int { count.load(ordering: .relaxed) }
    func increment() -> Int { count.wrappingAdd(1, ordering: .relaxed).newValue }
}

/// An actor on a poller's thread.
private actor Resident {
    nonisolated let poller: Poller
    nonisolated var unownedExecutor: UnownedSerialExecutor { poller.asUnownedSerialExecutor() }
    private var count = 0

    init(_ poller: Poller) { self.poller = poller }

    func increment() -> Int {
        poller.checkIsolated()
        count += 1
        return count
    }
}

@Suite("The poller", .deadline) struct PollerTests {
    private func withPoller(
        clock: any MonotonicClock = ContinuousClock(), _ body: (Poller) async throws -> Void
    ) async throws {
        let poller = try Poller(name: "test-poller", clock: clock)
        defer { poller.stop() }
        try await body(poller)
    }

    @Test("Closures run in the order of the calls")
    func order() async throws {
        try await withPoller { poller in
            let order = Mutex<[Int]>([])
            await withCheckedContinuation { continuation in
                for number in 0..<1000 { poller.execute { order.withLock { $0.append(number) } } }
                poller.execute { continuation.resume() }
            }
            #expect(order.withLock { $0 } == Array(0..<1000))
        }
    }

    @Test("Every closure runs although many threads wake the poller at once")
    func manyThreads() async throws {
        try await withPoller { poller in
            let total = Counter()
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<1000 {
                    group.addTask {
                        await withCheckedContinuation { continuation in
                            poller.execute {
                                _ = total.increment()
                                continuation.resume()
                            }
                        }
                    }
                }
            }
            #expect(total.value == 1000)
        }
    }

    @Test("An actor runs on the thread, and only there")
    func actorOnThread() async throws {
        try await withPoller { poller in
            let resident = Resident(poller)
            for expected in 1...100 { #expect(await resident.increment() == expected) }
            #expect(poller.isIsolatingCurrentContext() == false)
        }
    }

    @Test("Deadlines come in order, and a cancelled one never comes")
    func deadlines() async throws {
        let clock = ManualClock()
        try await withPoller(clock: clock) { poller in
            let order = Mutex<[String]>([])
            let now = clock.now
            await withCheckedContinuation { continuation in
                poller.schedule(at: now + .milliseconds(60)) { continuation.resume() }
                poller.schedule(at: now + .milliseconds(40)) { order.withLock { $0.append("second") } }
                let cancelled = poller.schedule(at: now + .milliseconds(30)) {
                    order.withLock { $0.append("never") }
                }
                poller.schedule(at: now + .milliseconds(20)) { order.withLock { $0.append("first") } }
                #expect(poller.cancelDeadline(cancelled))
                #expect(!poller.cancelDeadline(cancelled))
                clock.advance(by: .milliseconds(60))
            }
            #expect(order.withLock { $0 } == ["first", "second"])
        }
    }

    @Test("A deadline does not come before its moment on the poller's clock")
    func notEarly() async throws {
        let clock = ManualClock()
        try await withPoller(clock: clock) { poller in
            let fired = Counter()
            let (signal, firing) = AsyncStream<Void>.makeStream()
            poller.schedule(at: clock.now + .seconds(3600)) {
                _ = fired.increment()
                firing.yield()
            }
            clock.advance(by: .seconds(3600) - .nanoseconds(1))
            // Two rounds of the thread, because the first one may have begun before the clock moved.
            for _ in 0..<2 {
                await withCheckedContinuation { continuation in poller.execute { continuation.resume() } }
            }
            #expect(fired.value == 0)
            clock.advance(by: .nanoseconds(1))
            try await signal.wait(for: 1)
            #expect(fired.value == 1)
        }
    }

    @Test("A deadline in the far future does not disturb the others")
    func farFuture() async throws {
        try await withPoller { poller in
            let far = poller.schedule(at: .now + .seconds(Int64.max)) {}
            await withCheckedContinuation { continuation in
                poller.schedule(at: .now + .milliseconds(10)) { continuation.resume() }
            }
            #expect(poller.cancelDeadline(far))
        }
    }

    @Test("The poller reports readiness again until the handler has read everything")
    func levelTriggered() async throws {
        try await withPoller { poller in
            let pair = try Pair()
            let calls = Counter()
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                let handler = Handler { descriptor, readiness in
                    #expect(readiness == .readable)
                    // The first call leaves the byte unread.
                    guard calls.increment() == 2 else { return }
                    var byte: UInt8 = 0
                    #expect(read(descriptor, &byte, 1) == 1)
                    poller.unwatch(descriptor)
                    continuation.resume()
                }
                poller.execute { try? poller.watch(pair.one, for: .read, handler: handler) }
                #expect(write(pair.other, "x", 1) == 1)
            }
            #expect(calls.value == 2)
        }
    }

    @Test("The poller tells the peer's end from room to write")
    func endAndRoom() async throws {
        try await withPoller { poller in
            let pair = try Pair()
            let seen = await withCheckedContinuation { (continuation: CheckedContinuation<PollReadiness, Never>) in
                let handler = Handler { descriptor, readiness in
                    if readiness == .writable {
                        try? poller.setInterest(.read, of: descriptor)
                        shutdown(pair.other, Int32(SHUT_WR))
                    } else {
                        poller.unwatch(descriptor)
                        continuation.resume(returning: readiness)
                    }
                }
                poller.execute { try? poller.watch(pair.one, for: [.read, .write], handler: handler) }
            }
            #expect(seen.contains(.readable))
            #expect(seen.contains(.ended))
        }
    }

    @Test("The poller releases a handler when it no longer watches the descriptor")
    func releasesHandler() async throws {
        try await withPoller { poller in
            let pair = try Pair()
            weak var released: Handler?
            do {
                let handler = Handler { _, _ in }
                released = handler
                await withCheckedContinuation { continuation in
                    poller.execute {
                        try? poller.watch(pair.one, for: .read, handler: handler)
                        poller.unwatch(pair.one)
                        continuation.resume()
                    }
                }
            }
            // The closure above may still be on its way out of the thread. After one more round it is not.
            await withCheckedContinuation { continuation in poller.execute { continuation.resume() } }
            #expect(released == nil)
        }
    }

    @Test("A descriptor that the kernel refuses throws and is not watched")
    func refusedDescriptor() async throws {
        try await withPoller { poller in
            let error = await withCheckedContinuation { (continuation: CheckedContinuation<PollerError?, Never>) in
                poller.execute {
                    do {
                        try poller.watch(1_000_000, for: .read, handler: Handler { _, _ in })
                        continuation.resume(returning: nil)
                    } catch {
                        continuation.resume(returning: error as? PollerError)
                    }
                }
            }
            #expect(error?.code == EBADF)
        }
    }
}
