import Testing

@testable import Pipeline

@Suite struct PipelineLimitTests {
    @Test(
        "Without a setting, a stage has four times the length of the recording, and at least ten minutes",
        arguments: [
            (0.0, Duration.seconds(600)), (149, .seconds(600)), (3_600, .seconds(14_400)), (nil, .seconds(57_600)),
        ] as [(Double?, Duration)])
    func standard(length: Double?, timeout: Duration) {
        #expect(PipelineLimits().timeout(ofLength: length) == timeout)
    }

    @Test("The setting is the time of every stage", arguments: [nil, 0.0, 3_600])
    func set(length: Double?) {
        var limits = PipelineLimits()
        limits.stageTimeout = .seconds(5)
        #expect(limits.timeout(ofLength: length) == .seconds(5))
    }
}
