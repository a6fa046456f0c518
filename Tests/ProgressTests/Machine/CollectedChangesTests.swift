import Domain
import PropertySupport
import Testing

@testable import Progress
@testable import Store

/// Pending followers once kept a collection each: ten thousand clients that reconnected at once took 800 MB and minutes.
@Suite("Changes that pending followers miss") struct CollectedChangesTests {
    @Test("A follower misses what it would have collected alone, whatever the others do")
    func collections() {
        holds(forCases: 200) { random in
            let patients = (0..<3).map { _ in UserID.random() }
            let sessions = (0..<6).map { _ in SessionID.random() }
            var shared = CollectedChanges()
            var followers: [(pending: PendingFollower, alone: Alone)] = []
            for step in 1...30 {
                if random.happens(oneIn: 4) {
                    followers.append((PendingFollower(answersBefore: shared.answers), Alone()))
                }
                if followers.count > 2, random.happens(oneIn: 4) { followers.removeFirst() }
                let changes = FeedChanges(
                    (0..<Int.random(in: 0...3, using: &random)).map { _ in
                        FeedChanges.Item(
                            random.pick(sessions), of: random.pick(patients), 2,
                            in: random.happens(oneIn: 2) ? Int64(step) : nil)
                    },
                    deleted: random.happens(oneIn: 5) ? [(random.pick(sessions), random.pick(patients))] : [],
                    at: position(12))
                let oldest = followers.map(\.pending.answersBefore).min() ?? shared.answers
                shared.collect(changes, neededAfter: { oldest })
                if random.happens(oneIn: 3) { shared.prune(after: oldest) }
                for index in followers.indices { followers[index].alone.collect(changes) }
            }
            let scopes: [CaseloadScope] = [
                .everybody, .patients([patients[0]]), .patients([patients[1], patients[2]]),
            ]
            for (index, follower) in followers.enumerated() {
                for scope in scopes
                where !follower.alone.isFound(in: shared.missed(by: follower.pending, in: scope), scope) {
                    return "follower \(index) of \(followers.count), scope \(scope)"
                }
            }
            return nil
        }
    }

    @Test("What no pending follower needs is forgotten")
    func pruning() {
        var shared = CollectedChanges()
        for answer in 0..<5000 {
            let changes = FeedChanges(
                [FeedChanges.Item(.random(), of: .random(), 2, in: 11)], deleted: [(.random(), .random())],
                at: position(12))
            shared.collect(changes, neededAfter: { answer })
            #expect(shared.count <= 1002)
        }
        shared.removeAll()
        #expect(shared.count == 0)
    }
}

/// What a follower collects that shares nothing.
private struct Alone {
    var changed: [SessionID: CollectedChanges.Change] = [:]
    var deleted: Set<[String]> = []

    mutating func collect(_ changes: FeedChanges) {
        for item in changes.items {
            let session = item.progress.sessionID
            changed[session] = CollectedChanges.Change(
                patient: item.patient, transaction: item.transaction ?? changed[session]?.transaction)
        }
        for (session, patient) in changes.deleted { deleted.insert([session.description, patient.description]) }
    }

    /// Whether a shared collection has the same.
    ///
    /// It may know an older transaction of a session than this follower: one before it registered.
    func isFound(in missed: CollectedChanges.Missed, _ scope: CaseloadScope) -> Bool {
        let expected = changed.filter { scope.contains($0.value.patient) }
        let deletions = Set(deleted.filter { UserID($0[1]).map(scope.contains) ?? false }.map { $0[0] })
        return Set(missed.changed.keys) == Set(expected.keys)
            && expected.allSatisfy { session, change in
                let found = missed.changed[session]
                return found?.patient == change.patient
                    && (change.transaction == nil || found?.transaction == change.transaction)
            } && Set(missed.deleted.keys.map(\.description)) == deletions
    }
}
