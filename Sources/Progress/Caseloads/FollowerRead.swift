import Domain
import Store

/// The request of a read for one follower.
struct FollowerRequest: Sendable {
    var watcher: WatcherID
    var principal: Principal
    /// The patients whose sessions the follower was shown; nil for all patients.
    var patients: Set<UserID>?
    /// The versions that the follower was shown.
    var versions: [SessionID: Int64] = [:]
    /// The sessions that have changed.
    ///
    /// A catch-up reads them.
    var sessions: [SessionID] = []
    /// The number of suspensions when the read begins; see ``Rights/confirm(_:readAfter:)``.
    var suspensions = 0
    /// The snapshot after which the read looks for changes of rights.
    var rightsSince: DatabaseSnapshot?
}

/// A read for one follower.
enum FollowerRead: Sendable {
    /// Reads the caseload again, because rights may have changed.
    case caseload(FollowerRequest)
    /// A catch-up: reads the sessions that have changed while there was no room.
    case sessions(FollowerRequest)
}

/// The answer to a ``FollowerRead/caseload(_:)``.
struct CaseloadRefresh: Sendable {
    var caseload: Caseload
    /// The new transitions of the sessions that are newer than the follower was shown.
    var transitions: [SessionID: [StatusTransition]] = [:]
    /// The sessions of patients that the user has lost the right to, and the sessions that moved to another patient.
    var lost: [SessionID] = []
}

/// The answer to a ``FollowerRead``.
enum FollowerAnswer: Sendable {
    case caseload(FollowerRequest, CaseloadRefresh)
    case sessions(FollowerRequest, ProgressChanges)
}

extension FollowerRead {
    func answer(from reader: any ProgressReader) async throws -> FollowerAnswer {
        switch self {
        case .caseload(let request):
            return .caseload(request, try await CaseloadRefresh.read(for: request, from: reader))
        case .sessions(let request):
            let versions = request.sessions.map { request.versions[$0] ?? 0 }
            return .sessions(
                request,
                try await reader.changes(
                    of: request.sessions, after: versions, ofPatients: request.patients,
                    rightsSince: request.rightsSince))
        }
    }
}

extension CaseloadRefresh {
    fileprivate static func read(
        for request: FollowerRequest, from reader: any ProgressReader
    ) async throws -> CaseloadRefresh {
        let caseload = try await reader.caseload(of: request.principal, known: request.patients)
        var refresh = CaseloadRefresh(caseload: caseload)
        guard caseload.refusal == nil else { return refresh }
        // Nothing changes old transitions: they may come from a later database snapshot.
        let newer = newer(in: caseload, for: request)
        if !newer.isEmpty {
            let transitions = try await reader.transitions(after: newer)
            refresh.transitions = Dictionary(uniqueKeysWithValues: zip(newer.map(\.session), transitions))
        }
        if case .patients(let present) = caseload.scope {
            let lost = request.patients?.subtracting(present) ?? []
            let unlisted = Set(request.versions.keys).union(request.sessions)
                .subtracting(caseload.sessions.map(\.progress.sessionID))
            if !lost.isEmpty || !unlisted.isEmpty {
                refresh.lost = try await reader.lostSessions(
                    of: request.principal, patients: lost, among: unlisted, present: present)
            }
        }
        return refresh
    }

    /// The sessions whose transitions the read wants, each with a version: the read wants the transitions after it.
    ///
    /// For a session that was created meanwhile, the read wants all of them.
    ///
    /// - Parameters:
    ///   - caseload: The new caseload.
    ///   - request: What the follower was shown.
    /// - Returns: The sessions and versions.
    static func newer(
        in caseload: Caseload, for request: FollowerRequest
    ) -> [(session: SessionID, version: Int64)] {
        caseload.sessions.compactMap { patient, progress in
            let isOwn = request.patients?.contains(patient) ?? true
            guard let version = request.versions[progress.sessionID] ?? (isOwn ? 0 : nil), version < progress.version
            else { return nil }
            return (progress.sessionID, version)
        }
    }
}
