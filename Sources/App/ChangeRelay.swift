import Domain
import Progress
import ServiceLifecycle

/// Carries hints from the one listener of the process to the hub, to the worker and to the deliveries of webhooks.
struct ChangeRelay<Source: ChangeSource>: Service {
    let source: Source
    /// Nil in a process that has no watchers.
    let hub: ProgressHub?
    let wakeWorker: @Sendable () -> Void
    var wakeWebhooks: @Sendable () -> Void = {}
    /// Receives the sessions that may have changed, or nil for all.
    var onHints: @Sendable ([SessionID]?) -> Void = { _ in }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            for await events in source.events() {
                if events.contains(where: { $0 == .workWaiting || $0 == .resync }) { wakeWorker() }
                if events.contains(where: { $0 == .webhooksWaiting || $0 == .resync }) { wakeWebhooks() }
                for event in events {
                    switch event {
                    case .hints(let hints): onHints(hints.map(\.session))
                    case .resync: onHints(nil)
                    case .rightsChanged, .workWaiting, .webhooksWaiting, .degraded: break
                    }
                }
                await hub?.receive(events)
            }
        }
    }
}
