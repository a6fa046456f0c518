import Domain
import Synchronization

/// Counts the open streams, in all and of each user, and turns away the newest when there are too many.
final class StreamAdmission: Sendable {
    private struct Counts {
        var total = 0
        var ofUser: [UserID: Int] = [:]
    }

    private let limit: Int
    private let limitPerUser: Int
    private let counts = Mutex(Counts())

    init(limit: Int, limitPerUser: Int) {
        self.limit = limit
        self.limitPerUser = limitPerUser
    }

    /// How many streams are open.
    var openStreams: Int { counts.withLock { $0.total } }

    /// A place for one more stream, held until it is released; nil when there is none.
    func admit(_ user: UserID) -> Place? {
        let isAdmitted = counts.withLock { counts in
            guard counts.total < limit, counts.ofUser[user, default: 0] < limitPerUser else { return false }
            counts.total += 1
            counts.ofUser[user, default: 0] += 1
            return true
        }
        return isAdmitted ? Place(admission: self, user: user) : nil
    }

    final class Place: Sendable {
        private let admission: StreamAdmission
        private let user: UserID

        fileprivate init(admission: StreamAdmission, user: UserID) {
            self.admission = admission
            self.user = user
        }

        deinit {
            admission.counts.withLock { counts in
                counts.total -= 1
                let remaining = counts.ofUser[user, default: 1] - 1
                counts.ofUser[user] = remaining > 0 ? remaining : nil
            }
        }
    }
}
