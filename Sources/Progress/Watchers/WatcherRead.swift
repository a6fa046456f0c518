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

    /// The answer to a ``Read``, with the epoch of rights in its database snapshot.
    enum Answer: Sendable {
        case catchUp([CatchUpAnswer], epoch: Int64)
        case sweep(lost: Set<Int>, epoch: Int64)
        case followers(Followers.Answer)

        var epoch: Int64 {
            switch self {
            case .catchUp(_, let epoch), .sweep(_, let epoch): epoch
            case .followers(let answer): answer.epoch
            }
        }
    }
}

extension Watchers.Read {
    func answer(from reader: any ProgressReader) async throws -> Watchers.Answer {
        switch self {
        case .catchUp(let requests):
            let (answers, epoch) = try await CatchUpAnswer.answers(to: requests, from: reader)
            return .catchUp(answers, epoch: epoch)
        case .sweep(let requests):
            let (lost, epoch) = try await reader.lostRights(among: requests.map { ($0.session, $0.principal) })
            return .sweep(lost: lost, epoch: epoch)
        case .followers(let read): return .followers(try await read.answer(from: reader))
        }
    }
}
