import Domain
import Postgres
import Store
import Testing

@testable import HTTPAPI

/// Which reports are written together, and when: the decisions of the value.
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

    @Test("A lone report is written at once, and reports that arrive meanwhile go together when it ends")
    func alone() {
        var gathering = ReportGathering()
        let requests = (1...3).map { request($0) }
        #expect(gathering.submit(requests[0]) == .write(Batch(requests: [requests[0]])))
        #expect(gathering.submit(requests[1]) == .nothing)
        #expect(gathering.submit(requests[2]) == .nothing)
        #expect(gathering.wrote() == .write(Batch(requests: Array(requests[1...2]))))
        #expect(gathering.wrote() == .nothing)
        #expect(gathering.submit(requests[0]) == .write(Batch(requests: [requests[0]])))
    }

    @Test("A request that does not fit beside the waiting ones goes in the statement after theirs")
    func full() {
        var gathering = ReportGathering(limits: .init(batch: 10, waiting: 100, statements: 1))
        let (small, large) = (request(1, 3), request(2, 10))
        start(&gathering)
        #expect(gathering.submit(small) == .nothing)
        #expect(gathering.submit(large) == .nothing)
        #expect(gathering.wrote() == .write(Batch(requests: [small])))
        #expect(gathering.wrote() == .write(Batch(requests: [large])))
        #expect(gathering.wrote() == .nothing)
    }

    @Test("Requests are never divided, and never overtake each other")
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

    @Test("A second statement, if allowed, begins when it is full")
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

    @Test("Waiting reports stay within the limit, and reports that go or are cancelled make room")
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

    @Test("A waiting request that is cancelled is not written, but the database keeps one that it has")
    func cancelled() {
        var gathering = ReportGathering()
        let requests = (1...3).map { request($0) }
        start(&gathering)
        for request in requests { _ = gathering.submit(request) }
        gathering.cancel(2)
        gathering.cancel(7)
        #expect(gathering.wrote() == .write(Batch(requests: [requests[0], requests[2]])))
        gathering.cancel(1)
        // All that waits is cancelled: nothing more is written.
        #expect(gathering.submit(request(4)) == .nothing)
        gathering.cancel(4)
        #expect(gathering.wrote() == .nothing)
        let last = request(5)
        #expect(gathering.submit(last) == .write(Batch(requests: [last])))
    }

    @Test("After a conflict, the batch runs again, then without waiting, and then it is over")
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

    @Test("A batch whose lock is not free runs once without waiting", arguments: [Batch.Turn.first, .again])
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

    @Test("A bad value fails its own request only")
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
        // Then come the requests that arrived meanwhile.
        #expect(gathering.wrote() == .write(Batch(requests: [next])))
    }

    @Test("Any other failure ends the batch, and the next reports are written")
    func other() {
        var gathering = ReportGathering()
        let batch = Batch(requests: [request(1), request(2)])
        let next = request(3)
        start(&gathering, batch)
        #expect(gathering.submit(next) == .nothing)
        let failed = gathering.failed(batch, .other)
        #expect(failed == (true, .write(Batch(requests: [next]))))
    }

    @Test("Reports of a session that another transaction holds wait for no lock until one succeeds")
    func heldSession() {
        var gathering = ReportGathering()
        let (held, other, both) = (request(1), request(2), request(3, 2))
        let locked = ReportOutcome.refused(.database(.lockNotAvailable, code: "session_locked"))
        let accepted = ReportOutcome.accepted(version: 2, progress: nil)
        func turn(_ request: Request) -> Batch.Turn? {
            guard case .write(let batch) = gathering.submit(request) else { return nil }
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

        // Reports that wait for locks and others are never in one statement, and keep their order.
        #expect(gathering.submit(other) == .write(Batch(requests: [other])))
        for request in [held, held, other] { #expect(gathering.submit(request) == .nothing) }
        #expect(gathering.wrote() == .write(Batch(requests: [held, held], turn: .withoutWaiting)))
        let free = gathering.wrote(Batch(requests: [held, held], turn: .withoutWaiting), [accepted, accepted])
        #expect(free == .write(Batch(requests: [other])))
        wrote([other], .first, accepted)
        #expect(turn(held) == .first)
        wrote([held], .first, accepted)

        // Only the locked session is held, and no other one of the request.
        #expect(turn(both) == .first)
        wrote([both], .withoutWaiting, accepted, locked)
        #expect(turn(Request(id: 4, reports: [both.reports[0]])) == .first)
        _ = gathering.wrote()
        #expect(turn(Request(id: 5, reports: [both.reports[1]])) == .withoutWaiting)
    }

    /// Begins a statement, beside which the next requests wait.
    private func start(_ gathering: inout ReportGathering) {
        let first = request(0)
        #expect(gathering.submit(first) == .write(Batch(requests: [first])))
    }

    /// Begins a statement with this batch.
    private func start(_ gathering: inout ReportGathering, _ batch: ReportGathering.Batch) {
        start(&gathering)
        for request in batch.requests { _ = gathering.submit(request) }
        #expect(gathering.wrote() == .write(batch))
    }
}

extension ReportGathering {
    /// Ends a statement, whatever it was.
    fileprivate mutating func wrote() -> Action { wrote(Batch(requests: []), []) }
}
