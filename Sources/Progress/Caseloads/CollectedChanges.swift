import Domain
import Store

/// What the feed finds while caseloads of new followers are being read.
///
/// All pending followers share one collection. Each takes from it what it missed since it registered. Thousands of clients
/// that reconnect at once therefore cost no more than one entry for each changed session.
struct CollectedChanges {
    /// A change of a session.
    struct Change: Equatable {
        var patient: UserID
        /// The last transaction that is known to have changed the session; nil for a percentage, which leaves no trace.
        var transaction: Int64?
    }

    /// What one follower missed.
    struct Missed {
        var changed: [SessionID: Change] = [:]
        /// The deleted sessions and their patients.
        var deleted: [SessionID: UserID] = [:]
    }

    private struct Changed {
        /// The number of the last answer with the session.
        var answer: Int
        var transaction: Int64?
    }

    /// The number of answers so far.
    private(set) var answers = 0
    private var changed: [UserID: [SessionID: Changed]] = [:]
    private var patients: [SessionID: UserID] = [:]
    /// The numbers of the answers with deleted sessions.
    private var deleted: [UserID: [SessionID: Int]] = [:]
    private var deletedCount = 0
    /// The number of sessions above which ``collect(_:neededAfter:)`` forgets what no follower needs.
    private var pruneLimit = Self.smallestPruneLimit

    private static let smallestPruneLimit = 1000

    /// The number of sessions in the collection.
    var count: Int { patients.count + deletedCount }

    /// Adds an answer of the feed.
    ///
    /// - Parameters:
    ///   - changes: The answer.
    ///   - oldest: The smallest ``PendingFollower/answersBefore`` of the pending followers.
    mutating func collect(_ changes: FeedChanges, neededAfter oldest: () -> Int) {
        answers += 1
        for item in changes.items {
            let session = item.progress.sessionID
            var transaction = item.transaction
            if let before = patients.updateValue(item.patient, forKey: session) {
                let known = changed[before]?.removeValue(forKey: session)
                transaction = transaction ?? known?.transaction
                if changed[before]?.isEmpty == true { changed[before] = nil }
            }
            changed[item.patient, default: [:]][session] = Changed(answer: answers, transaction: transaction)
        }
        for (session, patient) in changes.deleted {
            if deleted[patient, default: [:]].updateValue(answers, forKey: session) == nil { deletedCount += 1 }
        }
        if count > pruneLimit { prune(after: oldest()) }
    }

    /// What a follower with a scope missed since it registered.
    func missed(by follower: PendingFollower, in scope: CaseloadScope) -> Missed {
        let patients =
            switch scope {
            case .everybody: Set(changed.keys).union(deleted.keys)
            case .patients(let patients): patients
            }
        var missed = Missed()
        for patient in patients { add(patient, after: follower.answersBefore, to: &missed) }
        return missed
    }

    private func add(_ patient: UserID, after answer: Int, to missed: inout Missed) {
        for (session, change) in changed[patient] ?? [:] where change.answer > answer {
            missed.changed[session] = Change(patient: patient, transaction: change.transaction)
        }
        for (session, last) in deleted[patient] ?? [:] where last > answer { missed.deleted[session] = patient }
    }

    /// Forgets everything: no follower is pending.
    mutating func removeAll() {
        changed = [:]
        patients = [:]
        deleted = [:]
        deletedCount = 0
        pruneLimit = Self.smallestPruneLimit
    }

    /// Forgets what only earlier followers needed.
    ///
    /// - Parameter answer: The number of the last answer that nobody needs.
    mutating func prune(after answer: Int) {
        changed = changed.mapValues { $0.filter { $0.value.answer > answer } }.filter { !$0.value.isEmpty }
        patients = [:]
        for (patient, sessions) in changed { for session in sessions.keys { patients[session] = patient } }
        deleted = deleted.mapValues { $0.filter { $0.value > answer } }.filter { !$0.value.isEmpty }
        deletedCount = deleted.values.reduce(0) { $0 + $1.count }
        pruneLimit = max(Self.smallestPruneLimit, 2 * count)
    }
}
