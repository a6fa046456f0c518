import Domain
import Testing

@testable import Progress

@Suite("The admission of streams")
struct StreamAdmissionTests {
    /// Counts by reference: `#expect` takes no mutating call.
    private final class Door {
        var admission: StreamAdmission
        init(limit: Int, limitPerUser: Int) { admission = StreamAdmission(limit: limit, limitPerUser: limitPerUser) }
        func admit(_ user: UserID) -> Bool { admission.admit(user) }
    }

    @Test("limits the streams of one user, and not those of another")
    func perUser() {
        let door = Door(limit: 100, limitPerUser: 2)
        let (ada, ben) = (UserID.random(), UserID.random())
        #expect(door.admit(ada))
        #expect(door.admit(ada))
        #expect(!door.admit(ada))
        #expect(door.admit(ben))
        #expect(door.admission.total == 3)
        door.admission.leave(ada)
        #expect(door.admission.total == 2)
        #expect(door.admit(ada))
        #expect(!door.admit(ada))
    }

    @Test("limits the streams in all")
    func inAll() {
        let door = Door(limit: 3, limitPerUser: 100)
        let users = (0..<4).map { _ in UserID.random() }
        for user in users.dropLast() { #expect(door.admit(user)) }
        #expect(!door.admit(users[3]))
        #expect(!door.admit(users[0]))
        door.admission.leave(users[0])
        #expect(door.admit(users[3]))
        #expect(door.admission.total == 3)
    }

    @Test("lets nobody in when there are no places", arguments: [(0, 10), (10, 0)])
    func none(_ limit: Int, _ limitPerUser: Int) {
        let door = Door(limit: limit, limitPerUser: limitPerUser)
        #expect(!door.admit(.random()))
        #expect(door.admission.total == 0)
    }

    @Test("remembers nobody who has left")
    func forgets() {
        let door = Door(limit: 10, limitPerUser: 2)
        let ada = UserID.random()
        for _ in 0..<100 {
            #expect(door.admit(ada))
            #expect(door.admit(ada))
            door.admission.leave(ada)
            door.admission.leave(ada)
        }
        #expect(door.admission.total == 0)
    }
}
