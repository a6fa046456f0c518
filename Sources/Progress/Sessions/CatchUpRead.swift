import Domain
import Store

/// What a catch-up finds for one watcher.
enum CatchUpAnswer: Equatable, Sendable {
    /// The state, with the transitions after the version of the watcher.
    case reading(SessionReading)
    /// The user has lost the right.
    case refused
    /// This release cannot read the state or a transition. The client must reconnect, perhaps to a newer server.
    case unreadable
}

extension CatchUpAnswer {
    private init(_ authorization: SessionAuthorization) {
        guard authorization.permits(.see) else {
            self = authorization.verdict == .unreadable ? .unreadable : .refused
            return
        }
        self =
            authorization.progress.map {
                .reading(SessionReading(progress: $0, transitions: authorization.transitions))
            } ?? .unreadable
    }

    /// Reads the rights and states of watchers in one database snapshot.
    ///
    /// - Parameters:
    ///   - requests: The watchers.
    ///   - reader: The database.
    /// - Returns: One answer for each request, in order.
    /// - Throws: The error of the reader.
    static func answers(
        to requests: [WatcherRequest], from reader: any ProgressReader
    ) async throws -> [Self] {
        try await reader.authorize(
            requests.map { AuthorizationRequest($0.session, for: $0.principal, after: $0.version) }
        ).map(Self.init)
    }
}
