import Domain
import Logging
import Metrics
import Store
import Synchronization

/// The sessions that a worker works on: claims new ones while there is room and its brake lets it.
final class WorkerDesk: Sendable {
    private struct State {
        var brake = WorkerBrake()
        var running = 0
        /// True while a task waits for the end of a pause.
        var isWaiting = false
    }

    private let name: String
    private let tools: PipelineTools
    private let now: @Sendable () -> Duration
    private let look: @Sendable () -> Void
    private let state = Mutex(State())

    /// Makes an empty desk.
    ///
    /// - Parameters:
    ///   - name: The name of the worker in `app.session_leases`.
    ///   - tools: What the jobs use.
    ///   - now: The time since the start of the worker.
    ///   - look: Causes another call of ``fill(_:)``.
    init(
        name: String, tools: PipelineTools, now: @escaping @Sendable () -> Duration,
        look: @escaping @Sendable () -> Void
    ) {
        self.name = name
        self.tools = tools
        self.now = now
        self.look = look
    }

    /// Claims sessions while there is room, and starts a job for each.
    func fill(_ group: inout DiscardingTaskGroup) async {
        while !Task.isCancelled {
            let (isFull, wait) = state.withLock { state in
                (state.running >= tools.stages.limits.concurrency, state.brake.wait(at: now()))
            }
            if isFull { return }
            if wait > .zero {
                tools.logger.debug("worker waits before its next claim", metadata: ["pause": "\(wait)"])
                lookAgain(after: wait, &group)
                return
            }
            guard let (claim, patient) = await claim() else { return }
            state.withLock {
                $0.running += 1
                $0.brake.claimed(at: now())
            }
            group.addTask { [self] in
                let outcome = await PipelineJob(claim: claim, tools: tools).run()
                ended(outcome, of: patient)
                look()
            }
        }
    }

    private func claim() async -> (ClaimedSession, UserID?)? {
        do {
            guard let claim = try await tools.stores.queue.claim(worker: name, lease: PipelineWorker.lease) else {
                return nil
            }
            tools.metrics.claims.increment()
            return (claim, await patient(of: claim))
        } catch {
            if !Task.isCancelled {
                tools.logger.warning("cannot claim a session", metadata: ["error": "\(error)"])
            }
            return nil
        }
    }

    /// Asks for the patient of a session, or returns nil without an answer.
    ///
    /// Only the brake needs the patient. The session keeps its lease and its turn without an answer.
    private func patient(of claim: ClaimedSession) async -> UserID? {
        do {
            // Without its row in the queue, the session is deleted. Its job notices.
            return try await tools.stores.queue.patient(of: claim)
        } catch {
            if !Task.isCancelled {
                tools.logger.warning(
                    "patient of a session unknown to the brake",
                    metadata: ["session": "\(claim.session)", "error": "\(error)"])
            }
            return nil
        }
    }

    private func ended(_ outcome: WorkerBrake.Outcome, of patient: UserID?) {
        let (change, brake) = state.withLock { state in
            state.running -= 1
            return (state.brake.ended(outcome, of: patient, at: now()), state.brake)
        }
        tools.condition.note(brake)
        tools.metrics.braked(hasFault: brake.hasFault, isSlow: brake.brokenStage != nil)
        switch change {
        case .paused(let pause):
            tools.logger.warning("worker pauses", metadata: ["pause": "\(pause)"])
        case .tripped(let stage):
            tools.logger.error(
                "worker takes one session a minute: a stage fails for every patient",
                metadata: ["stage": "\(stage.rawValue)"])
        case .released: tools.logger.notice("worker works again")
        case nil: break
        }
    }

    /// Looks again at the end of a pause.
    private func lookAgain(after wait: Duration, _ group: inout DiscardingTaskGroup) {
        let isFirst = state.withLock { state in
            defer { state.isWaiting = true }
            return !state.isWaiting
        }
        guard isFirst else { return }
        group.addTask { [self] in
            try? await tools.clock.sleep(for: wait)
            state.withLock { $0.isWaiting = false }
            look()
        }
    }
}
