import Domain
import Progress
import Synchronization

@testable import Store

/// A database in memory.
///
/// It can be down, and it can delay reads.
final class FakeReader: ProgressReader {
    struct Down: Error {}

    /// What the hub has read: the number of reads, and of rows that they asked about or returned.
    struct Work: Equatable, Sendable {
        var reads = 0
        var rows = 0
    }

    private struct State {
        var work = Work()
        var rows: [SessionID: SessionProgress] = [:]
        var transitions: [SessionID: [StatusTransition]] = [:]
        /// The users who may see nothing.
        ///
        /// All other users may see everything.
        var verdicts: [Principal: SessionAuthorization.Verdict] = [:]
        var rightsChanges: [RightsChange] = []
        var hintLog: [(transaction: Int64, session: SessionID, version: Int64)] = []
        var commits = 0
        var isDown = false
        var failures = 0
        /// The number of requests in each statement that authorizes.
        var requestCounts: [Int] = []
        var readings = 0
        var snapshots = 0

        /// The snapshot that shows all commits so far.
        var present: DatabaseSnapshot { snapshot(Int64(10 + commits)) }

        mutating func rightsNews(since earlier: DatabaseSnapshot?) -> RightsNews {
            let changes = earlier.map { earlier in rightsChanges.filter { !earlier.shows($0.transaction) } }
            work.rows += changes?.count ?? 0
            return RightsNews(at: present, changes: changes)
        }
    }
    private let state = Mutex(State())
    /// Delays the statements that authorize.
    let gate = Gate()

    static let permitted = SessionAuthorization.Verdict.found(
        role: .patient, relation: Relation(isPatient: true, isAssigned: false))

    var failures: Int { state.withLock { $0.failures } }
    var requestCounts: [Int] { state.withLock { $0.requestCounts } }
    var readings: Int { state.withLock { $0.readings } }
    var snapshots: Int { state.withLock { $0.snapshots } }
    var work: Work { state.withLock { $0.work } }
    var present: DatabaseSnapshot { state.withLock { $0.present } }

    var isDown: Bool {
        get { state.withLock { $0.isDown } }
        set { state.withLock { $0.isDown = newValue } }
    }

    // MARK: Writes, without notifications

    /// Creates a session at version 1.
    func addSession(_ status: SessionStatus = .pending) -> SessionID {
        let session = SessionID.random()
        change { $0.rows[session] = sample(session, version: 1, status: status) }
        return session
    }

    /// Commits the next version.
    @discardableResult
    func commit(_ session: SessionID, _ status: SessionStatus = .transcribing) -> Int64 {
        change { state in
            guard let row = state.rows[session] else { return 0 }
            let version = row.version + 1
            state.hintLog.append((Int64(9 + state.commits), session, version))
            state.rows[session] = sample(session, version: version, status: status)
            if row.status != status {
                state.transitions[session, default: []].append(transition(version, status: status))
            }
            return version
        }
    }

    func delete(_ session: SessionID) {
        change {
            $0.rows[session] = nil
            $0.hintLog.append((Int64(9 + $0.commits), session, 0))
            $0.rightsChanges.append(RightsChange(in: Int64(9 + $0.commits), session: session))
        }
    }

    /// Refuses a user everything, with a verdict, or, with nil, nothing.
    func refuse(_ principal: Principal, _ verdict: SessionAuthorization.Verdict?) {
        change {
            $0.verdicts[principal] = verdict
            $0.rightsChanges.append(RightsChange(in: Int64(9 + $0.commits), user: principal.user))
        }
    }

    /// Commits a change of rights of strangers, by the columns of the log of rights.
    func changeRights(
        user: UserID? = nil, signIn: SignInID? = nil, patient: UserID? = nil, session: SessionID? = nil
    ) {
        change {
            $0.rightsChanges.append(
                RightsChange(
                    in: Int64(9 + $0.commits), user: user, signIn: signIn, patient: patient, session: session))
        }
    }

    private func change<Result>(_ body: (inout sending State) -> sending Result) -> sending Result {
        state.withLock { state in
            state.commits += 1
            return body(&state)
        }
    }

    // MARK: Reads

    private func read<Result: Sendable>(_ body: (inout State) -> Result) throws -> Result {
        try state.withLock { state in
            guard !state.isDown else {
                state.failures += 1
                throw Down()
            }
            state.work.reads += 1
            return body(&state)
        }
    }

    func changes(
        of sessions: [SessionID], after versions: [Int64], ofPatients _: Set<UserID>?,
        rightsSince snapshot: DatabaseSnapshot?
    ) async throws -> ProgressChanges {
        try read { state in
            state.readings += 1
            state.work.rows += sessions.count
            var changes = ProgressChanges(rights: state.rightsNews(since: snapshot))
            for (session, known) in zip(sessions, versions) {
                guard let row = state.rows[session] else {
                    changes.missing.append(session)
                    continue
                }
                guard row.version > known else { continue }
                changes.changed.append((row, state.transitions[session, default: []].filter { $0.version > known }))
            }
            return changes
        }
    }

    func admit(_ requests: [AuthorizationRequest]) async throws -> [SessionAuthorization] {
        try await authorize(requests)
    }

    func authorize(_ requests: [AuthorizationRequest]) async throws -> [SessionAuthorization] {
        state.withLock { $0.requestCounts.append(requests.count) }
        try await gate.pass()
        return try read { state in
            state.work.rows += requests.count
            return requests.map { request in
                let row = state.rows[request.session]
                let verdict = state.verdicts[request.principal] ?? (row == nil ? .noSession : Self.permitted)
                let isPermitted = verdict == Self.permitted
                let transitions = state.transitions[request.session, default: []]
                return SessionAuthorization(
                    verdict: verdict, progress: isPermitted ? row : nil,
                    transitions: isPermitted ? transitions.filter { $0.version > request.after ?? .max } : [])
            }
        }
    }

    func lostRights(
        among requests: [(session: SessionID, principal: Principal)]
    ) async throws -> Set<Int> {
        try read { state in
            state.work.rows += requests.count
            let lost = requests.indices.filter {
                state.rows[requests[$0].session] == nil || state.verdicts[requests[$0].principal] != nil
            }
            return Set(lost)
        }
    }

    func rights(since snapshot: DatabaseSnapshot?) async throws -> RightsNews {
        try read { $0.rightsNews(since: snapshot) }
    }

    func hints(
        since snapshot: DatabaseSnapshot?, rightsSince rights: DatabaseSnapshot?
    ) async throws -> HintNews {
        try read { state in
            state.snapshots += 1
            let versions = snapshot.map { snapshot in
                Dictionary(
                    state.hintLog.lazy.filter { !snapshot.shows($0.transaction) }.map { ($0.session, $0.version) },
                    uniquingKeysWith: { $1 })
            }
            return HintNews(rights: state.rightsNews(since: rights), versions: versions)
        }
    }

    // MARK: Caseloads: each user may see the sessions of one patient, who has none

    func admitCaseload(
        of principal: Principal, resumes: Bool, requestID: RequestIdentifier?, network: ClientNetwork?
    ) async throws -> Caseload { try await caseload(of: principal, known: nil) }

    func caseload(of principal: Principal, known: Set<UserID>?) async throws -> Caseload {
        try read { state in
            state.work.rows += 1
            return Caseload(scope: .patients([.random()]), position: FeedPosition(state.present))
        }
    }

    // MARK: Reads that this database does not have

    func transitions(
        after versions: [(session: SessionID, version: Int64)]
    ) async throws -> [[StatusTransition]] { throw Down() }

    func lostSessions(
        of principal: Principal, patients: Set<UserID>, among sessions: Set<SessionID>, present: Set<UserID>
    ) async throws -> [SessionID] { throw Down() }

    func feed(
        since position: FeedPosition, also sessions: [SessionID], rightsSince snapshot: DatabaseSnapshot?
    ) async throws -> FeedChanges {
        try read { FeedChanges(rights: $0.rightsNews(since: snapshot)) }
    }

    func missed(
        from earlier: FeedPosition, to later: FeedPosition, in scope: CaseloadScope
    ) async throws -> MissedChanges? { throw Down() }
}

/// A gate for tasks.
///
/// While it is shut, tasks wait, until it opens or they are cancelled.
final class Gate: Sendable {
    private struct State {
        var isShut = false
        var waiting: [Int: CheckedContinuation<Void, any Error>] = [:]
        var last = 0
    }
    private let state = Mutex(State())

    /// The number of tasks that wait.
    var waiting: Int { state.withLock { $0.waiting.count } }

    func shut() { state.withLock { $0.isShut = true } }

    func open() {
        let waiting = state.withLock { state in
            defer { state.waiting = [:] }
            state.isShut = false
            return Array(state.waiting.values)
        }
        for continuation in waiting { continuation.resume() }
    }

    func pass() async throws {
        let number = state.withLock { state in
            state.last += 1
            return state.last
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let mayPass = state.withLock { state in
                    if state.isShut, !Task.isCancelled { state.waiting[number] = continuation }
                    return !state.isShut || Task.isCancelled
                }
                if mayPass { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.waiting.removeValue(forKey: number) }?.resume(throwing: CancellationError())
        }
        try Task.checkCancellation()
    }
}
