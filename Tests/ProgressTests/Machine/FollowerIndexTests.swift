import Domain
import Testing

@testable import Progress
@testable import Store

/// Without the index, each change would visit every follower of the installation.
@Suite("Index of followers") struct FollowerIndexTests {
    private let patient = UserID.random()
    private let id = WatcherID(slot: 1, generation: 0)

    private func changes(of patients: UserID...) -> FeedChanges {
        FeedChanges(patients.map { FeedChanges.Item(.random(), of: $0, 2, in: 11) }, at: position(12))
    }

    @Test("A change concerns the followers of its patient, and those of all patients")
    func scopes() {
        var index = FollowerIndex()
        let stranger = UserID.random()
        let (other, admin) = (WatcherID(slot: 2, generation: 0), WatcherID(slot: 3, generation: 0))
        index.update(id, from: nil, to: .patients([patient]), isSettled: true)
        index.update(other, from: nil, to: .patients([patient, stranger]), isSettled: true)
        index.update(admin, from: nil, to: .everybody, isSettled: true)
        #expect(index.concerned(by: changes(of: patient)) == [id, other, admin])
        #expect(index.concerned(by: changes(of: stranger)) == [other, admin])
        #expect(index.concerned(by: changes(of: .random())) == [admin])
        #expect(index.concerned(by: changes()) == [])
    }

    @Test("A deletion concerns the followers of its patient")
    func deletion() {
        var index = FollowerIndex()
        index.update(id, from: nil, to: .patients([patient]), isSettled: true)
        var changes = changes()
        changes.deleted = [(.random(), patient)]
        #expect(index.concerned(by: changes) == [id])
    }

    @Test("Every answer concerns a follower that has something outstanding, even an empty answer")
    func unsettled() {
        var index = FollowerIndex()
        index.update(id, from: nil, to: .patients([]), isSettled: false)
        #expect(index.concerned(by: changes()) == [id])
        index.update(id, from: .patients([]), to: .patients([]), isSettled: true)
        #expect(index.concerned(by: changes()) == [])
    }

    @Test("A new scope replaces the former one")
    func newScope() {
        var index = FollowerIndex()
        let next = UserID.random()
        index.update(id, from: nil, to: .patients([patient]), isSettled: true)
        index.update(id, from: .patients([patient]), to: .patients([next]), isSettled: true)
        #expect(index.concerned(by: changes(of: patient)) == [])
        #expect(index.concerned(by: changes(of: next)) == [id])
    }

    @Test("A follower that leaves stays nowhere in the index", arguments: [true, false])
    func leaving(isSettled: Bool) {
        var index = FollowerIndex()
        let scopes: [CaseloadScope] = [.everybody, .patients([patient, .random()])]
        for scope in scopes {
            index.update(id, from: nil, to: scope, isSettled: isSettled)
            #expect(!index.isEmpty)
            index.update(id, from: scope, to: nil, isSettled: true)
            #expect(index.isEmpty)
        }
    }
}
