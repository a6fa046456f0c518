import Progress
import ServiceLifecycle

/// Carries what the database announces to the hub and to the worker: there is one listening connection a process.
struct ChangeRelay<Source: ChangeSource>: Service {
    let source: Source
    /// Nil in a process that has no watchers.
    let hub: ProgressHub?
    let callWorker: @Sendable () -> Void

    func run() async throws {
        await cancelWhenGracefulShutdown {
            for await events in source.events() {
                if events.contains(where: { $0 == .workWaiting || $0 == .resync }) { callWorker() }
                await hub?.receive(events)
            }
        }
    }
}
