import CEpoll
import DurationUnits
import Glibc
import Synchronization

/// One thread that waits for descriptors, deadlines and work, by epoll.
///
/// The poller is a serial executor too: an actor with this executor runs on the poller's thread, beside the readiness
/// of its descriptors. The compiler then checks what would otherwise be a rule in a comment. Call `watch`,
/// `setInterest` and `unwatch` on the thread, and everything else from anywhere.
///
/// Nothing that runs here may block, because all sockets of the poller would wait.
public final class Poller: SerialExecutor, Sendable {
    /// Work for the thread: an actor's job, or a closure.
    enum Work: Sendable {
        case job(UnownedJob)
        case closure(@Sendable () -> Void)
    }

    private struct Shared {
        var work: [Work] = []
        var deadlines = DeadlineHeap<@Sendable () -> Void>()
        var isSleeping = false
        var isStopping = false
    }

    /// The clock of the deadlines.
    ///
    /// Everything that runs on this poller takes its moments from this clock.
    public let clock: any MonotonicClock

    private let shared = Mutex(Shared())
    private let wakeUpDescriptor: CInt
    private let epollDescriptor: CInt
    private let threadID = Atomic<UInt>(0)

    /// The watched descriptors.
    ///
    /// Safe, because only the poller's thread uses the table: `watch`, `setInterest` and `unwatch` stop the program on
    /// another thread, and the loop runs on this one.
    private nonisolated(unsafe) var table = DescriptorTable()

    /// Makes a poller and starts its thread.
    ///
    /// The thread runs until `stop()`.
    ///
    /// - Parameters:
    ///   - name: The thread's name, of which Linux shows the first 15 bytes.
    ///   - clock: The clock of the deadlines.
    /// - Throws: `PollerError` if the process has no descriptor or thread left.
    public init(name: String, clock: any MonotonicClock) throws {
        self.clock = clock
        epollDescriptor = cepoll_create()
        guard epollDescriptor >= 0 else { throw PollerError(call: "epoll_create1") }
        wakeUpDescriptor = cepoll_eventfd()
        guard wakeUpDescriptor >= 0 else {
            let error = PollerError(call: "eventfd")
            close(epollDescriptor)
            throw error
        }
        guard
            cepoll_control(epollDescriptor, cepoll_add, wakeUpDescriptor, cepoll_in, DescriptorTable.wakeUpToken) == 0
        else {
            let error = PollerError(call: "epoll_ctl")
            close(epollDescriptor)
            close(wakeUpDescriptor)
            throw error
        }
        clock.onJump { [weak self] in self?.execute {} }
        // The thread keeps the poller alive until it has stopped.
        try startThread(name: name) { self.run() }
    }

    deinit {
        close(epollDescriptor)
        close(wakeUpDescriptor)
    }

    /// Ends the thread after the work that is queued.
    ///
    /// The poller forgets the descriptors that it still watches, and does not close them. Work that comes later never
    /// runs. The owner of a poller therefore stops it after everything that runs on it.
    public func stop() {
        let mustWake = shared.withLock { shared in
            shared.isStopping = true
            return shared.isSleeping
        }
        if mustWake { _ = cepoll_eventfd_signal(wakeUpDescriptor) }
    }

    // MARK: Work

    /// Runs a closure on the thread, after all earlier work.
    ///
    /// - Parameter closure: The closure.
    public func execute(_ closure: @escaping @Sendable () -> Void) {
        enqueue(.closure(closure))
    }

    /// Runs a job of an actor whose executor this is.
    ///
    /// - Parameter job: The job.
    public func enqueue(_ job: consuming ExecutorJob) {
        enqueue(.job(UnownedJob(job)))
    }

    private func enqueue(_ work: Work) {
        let mustWake = shared.withLock { shared in
            shared.work.append(work)
            // One signal is enough for everything that arrives before the thread is awake.
            defer { shared.isSleeping = false }
            return shared.isSleeping
        }
        if mustWake { _ = cepoll_eventfd_signal(wakeUpDescriptor) }
    }

    // MARK: Deadlines

    /// Runs a closure on the thread at a moment, or as soon after it as the thread is free.
    ///
    /// - Parameters:
    ///   - deadline: The moment.
    ///   - closure: The closure.
    /// - Returns: The deadline, for `cancelDeadline(_:)`.
    @discardableResult
    public func schedule(at deadline: ContinuousClock.Instant, _ closure: @escaping @Sendable () -> Void) -> DeadlineID
    {
        let (id, mustWake) = shared.withLock { shared in
            let earliest = shared.deadlines.next()
            let id = shared.deadlines.insert(closure, at: deadline)
            let isEarlier = earliest.map { deadline < $0 } ?? true
            defer { if isEarlier { shared.isSleeping = false } }
            return (id, isEarlier && shared.isSleeping)
        }
        if mustWake { _ = cepoll_eventfd_signal(wakeUpDescriptor) }
        return id
    }

    /// Cancels a deadline.
    ///
    /// - Parameter id: The deadline.
    /// - Returns: Whether it had not come. Its closure then never runs.
    @discardableResult
    public func cancelDeadline(_ id: DeadlineID) -> Bool {
        // The closure is released outside of the lock, because the release of what it holds may call back here.
        let removed = shared.withLock { $0.deadlines.remove(id) }
        return removed != nil
    }

    // MARK: Descriptors

    /// Watches a descriptor; on the thread only.
    ///
    /// The descriptor stays its owner's. The owner calls `unwatch` before it closes the descriptor.
    ///
    /// - Parameters:
    ///   - descriptor: The descriptor, which is not watched yet.
    ///   - interest: What to watch it for.
    ///   - handler: Is called when the descriptor is ready.
    /// - Throws: `PollerError` if the kernel refuses.
    public func watch(_ descriptor: CInt, for interest: PollInterest, handler: any PollHandler) throws {
        checkIsolated()
        let token = unsafe table.insert(descriptor, interest: interest, handler: handler)
        guard cepoll_control(epollDescriptor, cepoll_add, descriptor, interest.events, token) == 0 else {
            let error = PollerError(call: "epoll_ctl")
            unsafe table.remove(descriptor)
            throw error
        }
    }

    /// Changes what a descriptor is watched for; on the thread only.
    ///
    /// The call costs nothing if nothing changes.
    ///
    /// - Parameters:
    ///   - interest: What to watch it for.
    ///   - descriptor: The descriptor. One that is not watched is ignored.
    /// - Throws: `PollerError` if the kernel refuses.
    public func setInterest(_ interest: PollInterest, of descriptor: CInt) throws {
        checkIsolated()
        guard let token = unsafe table.setInterest(interest, of: descriptor) else { return }
        guard cepoll_control(epollDescriptor, cepoll_mod, descriptor, interest.events, token) == 0 else {
            throw PollerError(call: "epoll_ctl")
        }
    }

    /// Stops watching a descriptor; on the thread only.
    ///
    /// A descriptor that is not watched is ignored. The poller drops a readiness that the kernel has reported already,
    /// and does not call the handler again.
    ///
    /// - Parameter descriptor: The descriptor.
    public func unwatch(_ descriptor: CInt) {
        checkIsolated()
        guard unsafe table.remove(descriptor) else { return }
        _ = cepoll_control(epollDescriptor, cepoll_del, descriptor, 0, 0)
    }

    // MARK: Executor

    /// True if the caller is on the poller's thread.
    public func isIsolatingCurrentContext() -> Bool? { isOnThread }

    /// Stops the program if the caller is not on the poller's thread.
    public func checkIsolated() {
        precondition(isOnThread, "not on the poller's thread")
    }

    private var isOnThread: Bool { threadID.load(ordering: .relaxed) == UInt(pthread_self()) }

    // MARK: The loop

    private func run() {
        threadID.store(UInt(pthread_self()), ordering: .relaxed)
        let capacity = 256
        let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: capacity)
        defer { unsafe events.deallocate() }
        while true {
            guard let timeout = prepareToSleep() else { break }
            let count = unsafe epoll_wait(epollDescriptor, events, CInt(capacity), timeout)
            shared.withLock { $0.isSleeping = false }
            if count > 0 {
                for index in 0..<Int(count) { unsafe deliver(events[index]) }
            }
            runDueDeadlines()
            runWork()
        }
        unsafe table = DescriptorTable()
    }

    /// How many milliseconds the thread may sleep; nil if it ends.
    private func prepareToSleep() -> CInt? {
        shared.withLock { shared in
            if !shared.work.isEmpty { return 0 }
            if shared.isStopping { return nil }
            shared.isSleeping = true
            guard let deadline = shared.deadlines.next() else { return -1 }
            // Rounded up, because a thread that wakes a little early would spin until the moment comes. At most an
            // hour, because `epoll_wait` takes milliseconds in an `int`.
            return CInt(clamping: max(0, min(deadline - clock.now, .seconds(3600)).whole(.milliseconds, .up)))
        }
    }

    private func deliver(_ event: epoll_event) {
        let token = unsafe event.data.u64
        if token == DescriptorTable.wakeUpToken {
            _ = cepoll_eventfd_clear(wakeUpDescriptor)
            return
        }
        guard let (descriptor, handler) = unsafe table.lookUp(token) else { return }
        unsafe handler.pollerReady(descriptor, PollReadiness(events: event.events))
    }

    private func runDueDeadlines() {
        let now = clock.now
        while let closure = shared.withLock({ $0.deadlines.popDue(now: now) }) { closure() }
    }

    /// Runs the queued work.
    ///
    /// If that work adds more work, it waits for the next round: the descriptors must get their turn.
    private func runWork() {
        let work = shared.withLock { shared in
            defer { shared.work = [] }
            return shared.work
        }
        for item in work {
            switch item {
            case .job(let job): unsafe job.runSynchronously(on: asUnownedSerialExecutor())
            case .closure(let closure): closure()
            }
        }
    }
}

/// A system call of the poller that failed.
public struct PollerError: Error, CustomStringConvertible, Sendable {
    /// The name of the system call.
    public let call: String

    /// The value of `errno`.
    public let code: CInt

    /// The call and the system's text for its error.
    public var description: String { unsafe "\(call): \(String(cString: strerror(code)))" }

    init(call: String) {
        self.call = call
        self.code = errno
    }
}
