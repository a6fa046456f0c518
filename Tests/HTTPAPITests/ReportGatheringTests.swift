import Domain
import Postgres
import Store
import Testing

@testable import HTTPAPI

/// What is written together, and when, as a value decides it.
@Suite struct ReportGatheringTests {
    private typealias Batch = ReportGathering.Batch
    private typealias Request = ReportGathering.Request

    private func request(_ id: Int, _ count: Int = 1) -> Request {
        Request(
            id: id,
            reports: (0..<count).map { number in
                CallerReport(
                    ProgressReport(sessionID: .random(), status: .transcribing, progress: number), user: .random(),
                    signIn: .random())
            })
    }

    @Test("a lone report waits for the time of gathering, and those that come meanwhile go with it")
    func pause() {
        var gathering = ReportGathering()
        let requests = (1...3).map { request($0) }
        #expect(gathering.submit(requests[0]) == .pause)
        #expect(gathering.submit(requests[1]) == .nothing)
        #expect(gathering.submit(requests[2]) == .nothing)
        #expect(gathering.pauseEnded() == .write(Batch(requests: requests)))
        #expect(gathering.wrote() == .nothing)
        #expect(gathering.submit(request(4)) == .pause)
    }

    @Test("what comes while a statement is under way goes at once when it ends")
    func underWay() {
        var gathering = ReportGathering()
        _ = gathering.submit(request(1))
        _ = gathering.pauseEnded()
        let requests = [request(2), request(3)]
        for request in requests { #expect(gathering.submit(request) == .nothing) }
        #expect(gathering.wrote() == .write(Batch(requests: requests)))
        #expect(gathering.wrote() == .nothing)
    }

    @Test("a full statement goes without a pause, and the end of a pause that was overtaken does no harm")
    func full() {
        var gathering = ReportGathering(limits: .init(batch: 10, waiting: 100, statements: 1))
        let small = request(1, 3)
        let large = request(2, 10)
        #expect(gathering.submit(small) == .pause)
        // The first in line goes first, and what does not fit beside it waits.
        #expect(gathering.submit(large) == .write(Batch(requests: [small])))
        #expect(gathering.pauseEnded() == .nothing)
        #expect(gathering.wrote() == .write(Batch(requests: [large])))
        #expect(gathering.wrote() == .nothing)
    }

    @Test("requests are never divided and never overtake each other")
    func order() {
        var gathering = ReportGathering(limits: .init(batch: 10, waiting: 100, statements: 1))
        let first = request(0, 10)
        #expect(gathering.submit(first) == .write(Batch(requests: [first])))
        let requests = [request(1, 4), request(2, 5), request(3, 2), request(4, 1), request(5, 10)]
        for request in requests { #expect(gathering.submit(request) == .nothing) }
        #expect(gathering.wrote() == .write(Batch(requests: Array(requests[0...1]))))
        #expect(gathering.wrote() == .write(Batch(requests: Array(requests[2...3]))))
        #expect(gathering.wrote() == .write(Batch(requests: [requests[4]])))
        #expect(gathering.wrote() == .nothing)
    }

    @Test("a second statement, where it is allowed, begins when it is full")
    func twoStatements() {
        var gathering = ReportGathering(limits: .init(batch: 10, waiting: 100, statements: 2))
        let requests = [request(1, 10), request(2, 4), request(3, 6), request(4, 10)]
        #expect(gathering.submit(requests[0]) == .write(Batch(requests: [requests[0]])))
        #expect(gathering.submit(requests[1]) == .nothing)
        #expect(gathering.submit(requests[2]) == .write(Batch(requests: Array(requests[1...2]))))
        #expect(gathering.submit(requests[3]) == .nothing)
        #expect(gathering.wrote() == .write(Batch(requests: [requests[3]])))
        #expect(gathering.wrote() == .nothing)
        #expect(gathering.wrote() == .nothing)
    }

    @Test("no more waits than the limit, and what goes or is cancelled makes room")
    func bounded() {
        var gathering = ReportGathering(limits: .init(batch: 10, waiting: 20, statements: 1))
        #expect(gathering.submit(request(1, 10)) != nil)
        #expect(gathering.submit(request(2, 10)) == .nothing)
        #expect(gathering.submit(request(3, 10)) == .nothing)
        #expect(gathering.submit(request(4, 1)) == nil)
        gathering.cancel(3)
        #expect(gathering.submit(request(5, 10)) == .nothing)
        #expect(gathering.submit(request(6, 1)) == nil)
        _ = gathering.wrote()
        #expect(gathering.submit(request(7, 10)) == .nothing)
    }

    @Test("who is cancelled in line is not written, and who is with the database is")
    func cancelled() {
        var gathering = ReportGathering()
        let requests = (1...3).map { request($0) }
        for request in requests { _ = gathering.submit(request) }
        gathering.cancel(2)
        gathering.cancel(7)
        #expect(gathering.pauseEnded() == .write(Batch(requests: [requests[0], requests[2]])))
        gathering.cancel(1)
        #expect(gathering.wrote() == .nothing)
        // All of them gone within the pause: nothing is written.
        _ = gathering.submit(request(4))
        gathering.cancel(4)
        #expect(gathering.pauseEnded() == .nothing)
        #expect(gathering.submit(request(5)) == .pause)
    }

    @Test("a conflict is tried again once, then without waiting, and then it is over")
    func conflict() {
        var (gathering, batch) = (ReportGathering(), Batch(requests: [request(1), request(2)]))
        start(&gathering, batch)
        for turn in [Batch.Turn.again, .withoutWaiting] {
            let (isOver, action) = gathering.failed(batch, .conflict)
            batch.turn = turn
            #expect(!isOver)
            #expect(action == .write(batch))
        }
        let last = gathering.failed(batch, .conflict)
        #expect(last == (true, .nothing))
    }

    @Test("a lock that is not to be had is tried once without waiting", arguments: [Batch.Turn.first, .again])
    func locked(turn: ReportGathering.Batch.Turn) {
        var (gathering, batch) = (ReportGathering(), Batch(requests: [request(1), request(2)]))
        start(&gathering, batch)
        batch.turn = turn
        let (isOver, action) = gathering.failed(batch, .locked)
        batch.turn = .withoutWaiting
        #expect(!isOver)
        #expect(action == .write(batch))
        let last = gathering.failed(batch, .locked)
        #expect(last == (true, .nothing))
    }

    @Test("a value that the database does not take is over for the request that it is in, and for no other")
    func badValue() {
        var gathering = ReportGathering()
        let requests = (1...3).map { request($0) }
        let next = request(4)
        start(&gathering, Batch(requests: requests))
        #expect(gathering.submit(next) == .nothing)
        let (isOver, action) = gathering.failed(Batch(requests: requests), .badValue)
        #expect(!isOver)
        #expect(action == .write(Batch(requests: [requests[0]])))
        #expect(gathering.wrote() == .write(Batch(requests: [requests[1]])))
        let alone = gathering.failed(Batch(requests: [requests[1]]), .badValue)
        #expect(alone == (true, .write(Batch(requests: [requests[2]]))))
        // And then those that came meanwhile.
        #expect(gathering.wrote() == .write(Batch(requests: [next])))
    }

    @Test("any other failure is over, and the next ones are written")
    func other() {
        var gathering = ReportGathering()
        let batch = Batch(requests: [request(1), request(2)])
        let next = request(3)
        start(&gathering, batch)
        #expect(gathering.submit(next) == .nothing)
        let failed = gathering.failed(batch, .other)
        #expect(failed == (true, .write(Batch(requests: [next]))))
    }

    @Test("reports of a session that another transaction holds wait for no lock any more, until one comes through")
    func heldSession() {
        var gathering = ReportGathering()
        let (held, other, both) = (request(1), request(2), request(3, 2))
        let locked = ReportOutcome.refused(.database(.lockNotAvailable, message: ""))
        let accepted = ReportOutcome.accepted(version: 2, progress: nil)
        func turn(_ request: Request) -> Batch.Turn? {
            _ = gathering.submit(request)
            guard case .write(let batch) = gathering.pauseEnded() else { return nil }
            #expect(batch.requests == [request])
            return batch.turn
        }
        func wrote(_ requests: [Request], _ turn: Batch.Turn, _ outcomes: ReportOutcome...) {
            #expect(gathering.wrote(Batch(requests: requests, turn: turn), outcomes) == .nothing)
        }
        #expect(turn(held) == .first)
        wrote([held], .withoutWaiting, locked)
        #expect(turn(other) == .first)
        wrote([other], .first, accepted)
        #expect(turn(held) == .withoutWaiting)
        wrote([held], .withoutWaiting, locked)

        // Those that wait and those that do not are never in one statement, and keep their order.
        for request in [other, held, held, other] { _ = gathering.submit(request) }
        #expect(gathering.pauseEnded() == .write(Batch(requests: [other])))
        #expect(gathering.wrote() == .write(Batch(requests: [held, held], turn: .withoutWaiting)))
        let free = gathering.wrote(Batch(requests: [held, held], turn: .withoutWaiting), [accepted, accepted])
        #expect(free == .write(Batch(requests: [other])))
        wrote([other], .first, accepted)
        #expect(turn(held) == .first)
        wrote([held], .first, accepted)

        // Of several in one request it is the one that is held.
        #expect(turn(both) == .first)
        wrote([both], .withoutWaiting, accepted, locked)
        #expect(turn(Request(id: 4, reports: [both.reports[0]])) == .first)
        _ = gathering.wrote()
        #expect(turn(Request(id: 5, reports: [both.reports[1]])) == .withoutWaiting)
    }

    private func start(_ gathering: inout ReportGathering, _ batch: ReportGathering.Batch) {
        for request in batch.requests { _ = gathering.submit(request) }
        #expect(gathering.pauseEnded() == .write(batch))
    }
}

extension ReportGathering {
    /// A statement has come to its end, whatever it was.
    fileprivate mutating func wrote() -> Action { wrote(Batch(requests: []), []) }
}
