import Domain
import Testing

@testable import Pipeline

@Suite struct WorkerBrakeTests {
    @Test("A new worker claims at once")
    func begin() {
        let brake = WorkerBrake()
        #expect(brake.wait(at: .zero) == .zero)
        #expect(brake.brokenStage == nil)
        #expect(!brake.hasFault)
    }

    @Test("Faults of the installation pause the worker for 1, 2, 4, 8, 16, and then always 30 seconds")
    func backOff() {
        var brake = WorkerBrake()
        var now = Duration.zero
        for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
            #expect(brake.ended(.installationFault, of: .random(), at: now) == .paused(.seconds(seconds)))
            #expect(brake.wait(at: now) == .seconds(seconds))
            #expect(brake.wait(at: now + .milliseconds(500)) == .seconds(seconds) - .milliseconds(500))
            now += .seconds(seconds)
            #expect(brake.wait(at: now) == .zero)
        }
        for _ in 0..<100 { _ = brake.ended(.installationFault, of: .random(), at: now) }
        #expect(brake.wait(at: now) == .seconds(30))
    }

    @Test(
        "A session that is processed, or a stage that fails for another reason, ends the pauses",
        arguments: [WorkerBrake.Outcome.processed, .failed(.transcribe)])
    func recovery(outcome: WorkerBrake.Outcome) {
        var brake = WorkerBrake()
        for _ in 0..<6 { _ = brake.ended(.installationFault, of: .random(), at: .zero) }
        #expect(brake.ended(outcome, of: .random(), at: .zero) == .released)
        #expect(brake.wait(at: .zero) == .zero)
        #expect(brake.ended(.installationFault, of: .random(), at: .zero) == .paused(.seconds(1)))
    }

    @Test("Failures of unknown patients do not trip the brake")
    func unknownPatients() {
        var brake = WorkerBrake()
        for _ in 0..<20 { #expect(brake.ended(.failed(.notes), of: nil, at: .zero) == nil) }
        for _ in 0..<4 { #expect(brake.ended(.failed(.notes), of: .random(), at: .zero) == nil) }
        #expect(brake.ended(.failed(.notes), of: .random(), at: .zero) == .tripped(.notes))
    }

    @Test(
        "Five patients whose recordings fail at one stage let the worker take one session a minute, until one succeeds")
    func trip() {
        var brake = WorkerBrake()
        for _ in 0..<4 {
            brake.claimed(at: .seconds(10))
            #expect(brake.ended(.failed(.notes), of: .random(), at: .seconds(10)) == nil)
        }
        #expect(brake.wait(at: .seconds(10)) == .zero)
        brake.claimed(at: .seconds(10))
        #expect(brake.ended(.failed(.notes), of: .random(), at: .seconds(15)) == .tripped(.notes))
        #expect(brake.brokenStage == .notes)
        #expect(brake.wait(at: .seconds(15)) == .seconds(55))
        #expect(brake.wait(at: .seconds(70)) == .zero)

        // One a minute, counted from the claim.
        brake.claimed(at: .seconds(70))
        #expect(brake.wait(at: .seconds(71)) == .seconds(59))
        #expect(brake.ended(.failed(.notes), of: .random(), at: .seconds(90)) == nil)
        #expect(brake.wait(at: .seconds(90)) == .seconds(40))

        brake.claimed(at: .seconds(130))
        #expect(brake.ended(.processed, of: .random(), at: .seconds(131)) == .released)
        #expect(brake.brokenStage == nil)
        #expect(brake.wait(at: .seconds(131)) == .zero)
    }

    @Test("Many failures of one patient, and failures at different stages, do not trip the brake")
    func noTrip() {
        var brake = WorkerBrake()
        let patient = UserID.random()
        for _ in 0..<40 { #expect(brake.ended(.failed(.transcribe), of: patient, at: .zero) == nil) }
        for _ in 0..<3 { #expect(brake.ended(.failed(.transcribe), of: .random(), at: .zero) == nil) }
        #expect(brake.ended(.failed(.notes), of: .random(), at: .zero) == nil)
        for _ in 0..<4 { #expect(brake.ended(.failed(.transcribe), of: .random(), at: .zero) == nil) }
        #expect(brake.brokenStage == nil)
        // A session that the worker left says nothing about the stage.
        #expect(brake.ended(.other, of: .random(), at: .zero) == nil)
        #expect(brake.ended(.failed(.transcribe), of: .random(), at: .zero) == .tripped(.transcribe))
    }

    @Test("A success between failures begins the count anew")
    func successBetween() {
        var brake = WorkerBrake()
        for _ in 0..<4 { _ = brake.ended(.failed(.transcribe), of: .random(), at: .zero) }
        #expect(brake.ended(.processed, of: .random(), at: .zero) == nil)
        for _ in 0..<4 { #expect(brake.ended(.failed(.transcribe), of: .random(), at: .zero) == nil) }
    }

    @Test("A slow worker whose installation is at fault waits for both")
    func both() {
        var brake = WorkerBrake()
        brake.claimed(at: .zero)
        for _ in 0..<5 { _ = brake.ended(.failed(.transcribe), of: .random(), at: .zero) }
        #expect(brake.ended(.installationFault, of: .random(), at: .seconds(1)) == .paused(.seconds(1)))
        #expect(brake.wait(at: .seconds(1)) == .seconds(59))
        #expect(brake.brokenStage == .transcribe)
    }
}
