import Domain
import Store

/// What a catch-up has found for one watcher.
enum CatchUpAnswer: Equatable, Sendable {
    /// The state, with the transitions since the version of the watcher.
    case reading(SessionReading)
    /// The right has ended.
    case refused
    /// This release cannot read the row: the watcher waits for what comes after.
    case unreadable
}

extension CatchUpAnswer {
    private init(_ opening: SessionAuthorization) {
        guard opening.permits(.see) else {
            self = .refused
            return
        }
        self =
            opening.progress.map { .reading(SessionReading(progress: $0, transitions: opening.transitions)) }
            ?? .unreadable
    }

    /// Reads right and state of some watchers in one snapshot.
    ///
    /// - Returns: An answer for each request, in order, and the epoch of rights in the same snapshot.
    static func answers(
        to requests: [WatcherRequest], from reader: any ProgressReader
    ) async throws -> (answers: [Self], epoch: Int64) {
        let openings = try await reader.authorize(
            requests.map { AuthorizationRequest($0.session, for: $0.principal, after: $0.version) })
        return (openings.map(Self.init), openings.first?.rightsEpoch ?? 0)
    }
}
