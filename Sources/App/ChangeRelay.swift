import Domain
import Progress
import ServiceLifecycle
import Store

/// Carries what the database announces to the hub and to the worker: there is one listening connection a process.
struct ChangeRelay<Source: ChangeSource>: Service {
    let source: Source
    /// Nil in a process that has no watchers.
    let hub: ProgressHub?
    let callWorker: @Sendable () -> Void

    func run() async throws {
        await cancelWhenGracefulShutdown {
            for await events in source.events() {
                for event in events { relay(event) }
            }
        }
    }

    private func relay(_ event: ChangeEvent) {
        hub?.receive(event)
        switch event {
        case .workWaiting, .resync: callWorker()
        case .hints, .rightsChanged, .degraded: break
        }
    }
}

/// Reads for the hub what the store knows.
struct StoreProgressReader: ProgressReader {
    let store: ProgressStore

    func read(after versions: [SessionID: Int64]) async throws -> ProgressReadings {
        let (changed, existing, rightsEpoch) = try await store.changes(after: versions)
        return ProgressReadings(
            readings: changed.map { SessionReading(progress: $0, transitions: $1) }, existing: existing,
            rightsEpoch: rightsEpoch)
    }
}
