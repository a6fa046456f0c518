import Domain

@testable import Progress
@testable import Store

/// A progress object.
///
/// Only its version matters to most tests.
func sample(
    _ session: SessionID, version: Int64, status: SessionStatus = .transcribing, progress: Int = 0
) -> SessionProgress {
    SessionProgress(
        sessionID: session, status: status, progress: progress, message: nil, error: nil, estimatedTimeRemaining: nil,
        version: version, attempt: 1, createdAt: Timestamp(microsecondsSinceEpoch: 0),
        updatedAt: Timestamp(microsecondsSinceEpoch: version))
}

/// A transition at a version.
func transition(_ version: Int64, status: SessionStatus = .transcribing) -> StatusTransition {
    StatusTransition(
        version: version, attempt: 1, status: status, progress: 0, message: nil, error: nil,
        at: Timestamp(microsecondsSinceEpoch: version))
}

/// What a read finds about a session: its version, and transitions before it.
func reading(_ session: SessionID, version: Int64, transitions: [Int64] = []) -> SessionReading {
    SessionReading(progress: sample(session, version: version), transitions: transitions.map { transition($0) })
}

/// A database snapshot with the number of the next transaction, and the numbers of those in progress.
func snapshot(_ next: Int64, _ inProgress: Int64..., on timeline: Int32 = 1) -> DatabaseSnapshot {
    DatabaseSnapshot(
        on: DatabaseTimeline(cluster: 1, number: timeline), oldest: inProgress.first ?? next, next: next,
        inProgress: inProgress)
}

extension RightsNews {
    /// What a read says after a number of changes that concern everybody.
    ///
    /// The first epoch has no change. The change that begins epoch 2 is transaction 10, and so on.
    static func epoch(_ epoch: Int64, at present: DatabaseSnapshot? = nil) -> RightsNews {
        RightsNews(
            at: present ?? ProgressTests.snapshot(9 + epoch), changes: (10..<(9 + epoch)).map { RightsChange(in: $0) })
    }
}
