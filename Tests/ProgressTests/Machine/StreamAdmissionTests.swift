import Domain
import Testing

@testable import Progress

@Suite("Admission of streams")
struct StreamAdmissionTests {
    /// A count that is a class, because `#expect` takes no mutating call.
    private final class Streams {
        private var admission: StreamAdmission
        private var users = UserIndex()
        init(limit: Int, limitPerUser: Int) { admission = StreamAdmission(limit: limit, limitPerUser: limitPerUser) }
        var total: Int { admission.total }

        func reserve(_ user: UserID) -> Bool {
            guard admission.reserve(besides: users.streams(of: user)) else { return false }
            users.countStreams(1, of: user)
            return true
        }

        func release(_ user: UserID) {
            admission.release()
            users.countStreams(-1, of: user)
        }
    }

    @Test("The limit per user holds for each user separately")
    func perUser() {
        let streams = Streams(limit: 100, limitPerUser: 2)
        let (ada, ben) = (UserID.random(), UserID.random())
        #expect(streams.reserve(ada))
        #expect(streams.reserve(ada))
        #expect(!streams.reserve(ada))
        #expect(streams.reserve(ben))
        #expect(streams.total == 3)
        streams.release(ada)
        #expect(streams.total == 2)
        #expect(streams.reserve(ada))
        #expect(!streams.reserve(ada))
    }

    @Test("The total limit holds for all users together")
    func inAll() {
        let streams = Streams(limit: 3, limitPerUser: 100)
        let users = (0..<4).map { _ in UserID.random() }
        for user in users.dropLast() { #expect(streams.reserve(user)) }
        #expect(!streams.reserve(users[3]))
        #expect(!streams.reserve(users[0]))
        streams.release(users[0])
        #expect(streams.reserve(users[3]))
        #expect(streams.total == 3)
    }

    @Test("A limit of zero rejects every stream", arguments: [(0, 10), (10, 0)])
    func none(_ limit: Int, _ limitPerUser: Int) {
        let streams = Streams(limit: limit, limitPerUser: limitPerUser)
        #expect(!streams.reserve(.random()))
        #expect(streams.total == 0)
    }

    @Test("After the last stream of a user, the count of that user starts again at zero")
    func forgets() {
        let streams = Streams(limit: 10, limitPerUser: 2)
        let ada = UserID.random()
        for _ in 0..<100 {
            #expect(streams.reserve(ada))
            #expect(streams.reserve(ada))
            streams.release(ada)
            streams.release(ada)
        }
        #expect(streams.total == 0)
    }
}
