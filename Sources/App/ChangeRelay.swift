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
                let isTimeToLook = events.contains { $0 == .resync || $0 == .lookDue }
                if isTimeToLook || events.contains(.workWaiting) { wakeWorker() }
                if isTimeToLook || events.contains(.webhooksWaiting) { wakeWebhooks() }
                if isTimeToLook { onHints(nil) }
                for case .hints(let hints) in events { onHints(hints.map(\.session)) }
                await hub?.receive(events)
            }
        }
    }
}
