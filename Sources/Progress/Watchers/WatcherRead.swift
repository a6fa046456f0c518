/// The reads that watchers need, apart from those of their sessions.
extension Watchers {
    /// The queues of reads.
    enum Lane {
        /// For watchers of one session that have missed something.
        case catchUps
        /// For watchers whose rights may have changed.
        case sweep
        /// For followers.
        case followers(Followers.Lane)

        /// All lanes, in the order in which their reads begin.
        static let all: [Lane] = [.catchUps, .sweep] + Followers.Lane.allCases.map(Lane.followers)
    }

    /// A read of one lane.
    enum Read: Sendable {
        case catchUp([WatcherRequest])
        case sweep([WatcherRequest])
        case followers(Followers.Read)
    }

    /// The answer to a ``Read``.
    enum Answer: Sendable {
        case catchUp([CatchUpAnswer])
        case sweep(lost: Set<Int>)
        case followers(Followers.Answer)
    }
}

extension Watchers.Read {
    func answer(from reader: any ProgressReader) async throws -> Watchers.Answer {
        switch self {
        case .catchUp(let requests): return .catchUp(try await CatchUpAnswer.answers(to: requests, from: reader))
        case .sweep(let requests):
            return .sweep(lost: try await reader.lostRights(among: requests.map { ($0.session, $0.principal) }))
        case .followers(let read): return .followers(try await read.answer(from: reader))
        }
    }
}
