import Domain
import Testing

@testable import HTTPAPI

@Suite("The admission of streams")
struct StreamAdmissionTests {
    @Test("limits the streams of one user, and not those of another")
    func perUser() {
        let admission = StreamAdmission(limit: 100, limitPerUser: 2)
        let (ada, ben) = (UserID.random(), UserID.random())
        var places = [admission.admit(ada), admission.admit(ada)]
        #expect(places.allSatisfy { $0 != nil })
        #expect(admission.admit(ada) == nil)
        let other = admission.admit(ben)
        #expect(other != nil)
        #expect(admission.openStreams == 3)
        places.removeLast()
        #expect(admission.openStreams == 2)
        let next = admission.admit(ada)
        #expect(next != nil)
        withExtendedLifetime((places, other, next)) {}
    }

    @Test("limits the streams in all")
    func inAll() {
        let admission = StreamAdmission(limit: 3, limitPerUser: 100)
        var places = (0..<3).map { _ in admission.admit(.random()) }
        #expect(admission.admit(.random()) == nil)
        #expect(admission.openStreams == 3)
        places.removeAll()
        #expect(admission.openStreams == 0)
        #expect(admission.admit(.random()) != nil)
    }

    @Test("lets nobody in when there are no places", arguments: [(0, 10), (10, 0)])
    func none(_ limit: Int, _ limitPerUser: Int) {
        let admission = StreamAdmission(limit: limit, limitPerUser: limitPerUser)
        #expect(admission.admit(.random()) == nil)
        #expect(admission.openStreams == 0)
    }

    @Test("never lets in too many when they come at once")
    func atOnce() async {
        let admission = StreamAdmission(limit: 50, limitPerUser: 20)
        let users = (0..<4).map { _ in UserID.random() }
        let places = await withTaskGroup(of: StreamAdmission.Place?.self) { group in
            for index in 0..<400 { group.addTask { admission.admit(users[index % 4]) } }
            return await group.reduce(into: []) { if let place = $1 { $0.append(place) } }
        }
        #expect(places.count == 50)
        #expect(admission.openStreams == 50)
    }
}
