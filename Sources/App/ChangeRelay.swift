import Progress
import ServiceLifecycle

/// Carries hints from the one listener of the process to the hub and to the worker.
struct ChangeRelay<Source: ChangeSource>: Service {
    let source: Source
    /// Nil in a process that has no watchers.
    let hub: ProgressHub?
    let wakeWorker: @Sendable () -> Void

    func run() async throws {
        await cancelWhenGracefulShutdown {
            for await events in source.events() {
                if events.contains(where: { $0 == .workWaiting || $0 == .resync }) { wakeWorker() }
                await hub?.receive(events)
            }
        }
    }
}
