import Domain
import Store

/// Sessions to read, each with the version after which the read looks for news.
struct SessionRead: Equatable, Sendable {
    var sessions: [SessionID] = []
    var versions: [Int64] = []
    /// The snapshot after which the read looks for changes of rights.
    var rightsSince: DatabaseSnapshot?
}

/// What one read finds about one watched session.
struct SessionReading: Sendable, Equatable {
    /// The present state.
    var progress: SessionProgress
    /// The transitions after the version of the request, oldest first.
    ///
    /// The last may be the state itself.
    var transitions: [StatusTransition]
}

/// The answer to a ``SessionRead``.
struct SessionReadAnswer: Sendable {
    /// The sessions that are newer than the versions of the request.
    var news: [SessionReading] = []
    /// The sessions that do not exist in the database snapshot.
    var missing: [SessionID] = []
    /// The sessions that this release cannot read.
    var unreadable: [SessionID] = []
    /// The changes of rights that the same database snapshot shows.
    var rights: RightsNews
}

extension SessionRead {
    func answer(from reader: any ProgressReader) async throws -> SessionReadAnswer {
        let changes = try await reader.changes(
            of: sessions, after: versions, ofPatients: nil, rightsSince: rightsSince)
        return SessionReadAnswer(
            news: changes.changed.map { SessionReading(progress: $0.progress, transitions: $0.transitions) },
            missing: changes.missing, unreadable: changes.unreadable, rights: changes.rights)
    }
}
