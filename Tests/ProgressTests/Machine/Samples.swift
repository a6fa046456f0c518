import Domain

@testable import Progress

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
