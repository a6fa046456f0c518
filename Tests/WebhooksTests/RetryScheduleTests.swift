import Domain
import Store
import Testing

@testable import Webhooks

/// What becomes of a delivery after an attempt.
@Suite struct RetryScheduleTests {
    @Test("The pauses are 5 s, 5 min, 30 min, 2 h, 5 h and 10 h, and the seventh failure is the last")
    func pauses() {
        let pauses = (1...7).map { RetrySchedule.pause(after: $0, chance: 0) }
        #expect(pauses == [5, 300, 1800, 7200, 18_000, 36_000].map { Duration.seconds($0) } + [nil])
        #expect(RetrySchedule.pause(after: 8, chance: 0) == nil)
    }

    @Test("Chance moves a pause by at most a tenth")
    func jitter() throws {
        for attempt in 1...6 {
            let pause = try #require(RetrySchedule.pause(after: attempt, chance: 0))
            #expect(RetrySchedule.pause(after: attempt, chance: -1) == pause * 0.9)
            #expect(RetrySchedule.pause(after: attempt, chance: 1) == pause * 1.1)
            #expect(RetrySchedule.pause(after: attempt, chance: 5) == pause * 1.1)
        }
    }

    @Test(
        "2xx is success, a redirect and every other status are failures, and 410 ends the delivery at once",
        arguments: [
            (200, nil, false), (201, nil, false), (204, nil, false), (299, nil, false), (300, .redirect, true),
            (301, .redirect, true), (304, .redirect, true), (308, .redirect, true), (400, .status, true),
            (404, .status, true), (409, .status, true), (410, .gone, false), (429, .status, true), (500, .status, true),
            (503, .status, true), (599, .status, true), (101, .status, true),
        ] as [(Int, WebhookFailure?, Bool)])
    func statuses(status: Int, failure: WebhookFailure?, isTriedAgain: Bool) throws {
        let result = try #require(WebhookService.result(of: .answered(status), tries: 0, chance: 0))
        #expect(result.status == status)
        #expect(result.failure == failure)
        #expect(result.delay == (isTriedAgain ? .seconds(5) : nil))
    }

    @Test("An attempt without an answer is tried again, until the schedule ends", arguments: WebhookFailure.allCases)
    func noAnswer(failure: WebhookFailure) {
        let results = (0...6).map { WebhookService.result(of: .failed(failure), tries: $0, chance: 0) }
        #expect(results.allSatisfy { $0?.failure == failure && $0?.status == nil })
        #expect(results.map { $0?.delay != nil } == [true, true, true, true, true, true, false])
    }

    @Test("An interrupted attempt has no result")
    func interrupted() {
        #expect(WebhookService.result(of: .interrupted, tries: 3, chance: 0) == nil)
    }
}
