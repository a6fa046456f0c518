import Domain
import Store

/// Sessions to be read, each with the version to read from.
struct SessionRead: Equatable, Sendable {
    var sessions: [SessionID] = []
    var versions: [Int64] = []
}

/// What the database says of one watched session in one read.
struct SessionReading: Sendable, Equatable {
    /// The present state.
    var progress: SessionProgress
    /// The transitions after the version that the read asked from, oldest first; the last may be the state itself.
    var transitions: [StatusTransition]
}

/// The answer to a ``SessionRead``.
struct SessionReadAnswer: Sendable {
    /// The sessions that are newer than asked.
    var news: [SessionReading] = []
    /// The sessions that do not exist.
    var missing: [SessionID] = []
    /// How many rows this release cannot read.
    var unreadable = 0
    /// The epoch of rights in the same snapshot.
    var epoch: Int64
}

extension SessionRead {
    func answer(from reader: any ProgressReader) async throws -> SessionReadAnswer {
        let changes = try await reader.changes(of: sessions, after: versions)
        return SessionReadAnswer(
            news: changes.changed.map { SessionReading(progress: $0.progress, transitions: $0.transitions) },
            missing: changes.missing, unreadable: changes.unreadable.count, epoch: changes.rightsEpoch)
    }
}
