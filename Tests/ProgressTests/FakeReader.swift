import Domain
import Synchronization

@testable import Progress

/// A database in memory, which can be down.
final class FakeReader: ProgressReader {
    struct Down: Error {}

    private struct State {
        var rows: [SessionID: SessionProgress] = [:]
        var transitions: [SessionID: [StatusTransition]] = [:]
        var rightsEpoch: Int64 = 1
        var isDown = false
        var reads = 0
        var failures = 0
    }
    private let state = Mutex(State())

    var reads: Int { state.withLock { $0.reads } }
    var failures: Int { state.withLock { $0.failures } }

    var isDown: Bool {
        get { state.withLock { $0.isDown } }
        set { state.withLock { $0.isDown = newValue } }
    }

    func read(after versions: [SessionID: Int64]) async throws -> ProgressReadings {
        try state.withLock { state in
            state.reads += 1
            guard !state.isDown else {
                state.failures += 1
                throw Down()
            }
            let readings = versions.compactMap { session, known -> SessionReading? in
                guard let row = state.rows[session], row.version > known else { return nil }
                let transitions = state.transitions[session, default: []].filter { $0.version > known }
                return SessionReading(progress: row, transitions: transitions)
            }
            return ProgressReadings(
                readings: readings, existing: Set(versions.keys).intersection(state.rows.keys),
                rightsEpoch: state.rightsEpoch)
        }
    }

    /// Makes a session at version 1.
    func addSession() -> SessionID {
        let session = SessionID.random()
        state.withLock { $0.rows[session] = sample(session, version: 1, status: .pending) }
        return session
    }

    /// Commits the next version; nobody is told.
    @discardableResult
    func commit(_ session: SessionID, _ status: SessionStatus = .transcribing) -> Int64 {
        state.withLock { state in
            guard let row = state.rows[session] else { return 0 }
            let version = row.version + 1
            state.rows[session] = sample(session, version: version, status: status)
            if row.status != status {
                state.transitions[session, default: []].append(transition(version, status: status))
            }
            return version
        }
    }

    func delete(_ session: SessionID) { state.withLock { $0.rows[session] = nil } }

    @discardableResult
    func changeRights() -> Int64 {
        state.withLock { state in
            state.rightsEpoch += 1
            return state.rightsEpoch
        }
    }
}
