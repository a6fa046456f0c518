import Store

/// A read that a sub-machine wants.
///
/// A new kind of read is a case of its sub-machine's own type, with the call of the reader beside it; nothing here changes.
enum HubRead: Sendable {
    case sessions(SessionReads.Lane, SessionRead)
    case catchUp([WatcherRequest])
    case sweep([WatcherRequest])
    case followers(Followers.Read)
    case openings(OpeningRead)
    case snapshot

    /// The sub-machine that wants a read, and its lane.
    enum Source {
        case sessions(SessionReads.Lane)
        case catchUps
        case rights
        case followers(Followers.Lane)
        case openings(Openings.Lane)
        case poll

        /// All of them, in the order in which their reads begin.
        static let all: [Source] =
            SessionReads.Lane.allCases.map(Source.sessions) + [.catchUps, .rights]
            + Followers.Lane.allCases.map(Source.followers) + Openings.Lane.allCases.map(Source.openings) + [.poll]

        /// Its reads wait while reads fail.
        ///
        /// The others tell their callers of the failure, or find out that it is over.
        var waitsForRetry: Bool {
            switch self {
            case .sessions, .catchUps, .rights, .followers: true
            case .openings, .poll: false
            }
        }
    }
}

/// The answer to a ``HubRead``.
enum HubAnswer: Sendable {
    case sessions(SessionReads.Lane, SessionReadAnswer)
    case catchUp([CatchUpAnswer], epoch: Int64)
    case sweep(lost: Set<Int>, epoch: Int64)
    case followers(Followers.Answer)
    case openings(OpeningReadAnswer)
    case snapshot(String)

    /// The epoch of rights in the same database snapshot; nil when that is not asked for, or for every watcher apart.
    var epoch: Int64? {
        switch self {
        case .sessions(_, let answer): answer.epoch
        case .catchUp(_, let epoch), .sweep(_, let epoch): epoch
        case .followers(let answer): answer.epoch
        case .openings, .snapshot: nil
        }
    }

    /// How many rows this release cannot read.
    var unreadable: Int {
        switch self {
        case .sessions(_, let answer): answer.unreadable
        case .followers(.feed(let changes)): changes.unreadable
        case .followers(.single), .catchUp, .sweep, .openings, .snapshot: 0
        }
    }
}

extension HubRead {
    /// Makes the read.
    func answer(from reader: any ProgressReader) async throws -> HubAnswer {
        switch self {
        case .sessions(let lane, let read): return .sessions(lane, try await read.answer(from: reader))
        case .catchUp(let requests):
            let (answers, epoch) = try await CatchUpAnswer.answers(to: requests, from: reader)
            return .catchUp(answers, epoch: epoch)
        case .sweep(let requests):
            let (lost, epoch) = try await reader.lostRights(among: requests.map { ($0.session, $0.principal) })
            return .sweep(lost: lost, epoch: epoch)
        case .followers(let read): return .followers(try await read.answer(from: reader))
        case .openings(let read): return .openings(try await read.answer(from: reader))
        case .snapshot: return .snapshot(try await reader.snapshot())
        }
    }
}
