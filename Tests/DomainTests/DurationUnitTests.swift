import DurationUnits
import Testing

@Suite struct DurationUnitTests {
    @Test(
        "A duration in whole units loses, keeps or rounds its fraction",
        arguments: [
            (Duration.zero, 0, 0, 0), (.milliseconds(1), 0, 1, 0), (.milliseconds(499), 0, 1, 0),
            (.milliseconds(500), 0, 1, 0), (.milliseconds(501), 0, 1, 1), (.seconds(1), 1, 1, 1),
            (.milliseconds(1_500), 1, 2, 2), (.milliseconds(2_500), 2, 3, 2),
            (.milliseconds(-1), 0, 0, 0), (.milliseconds(-500), 0, 0, 0), (.milliseconds(-501), 0, 0, -1),
            (.milliseconds(-1_499), -1, -1, -1), (.milliseconds(-1_500), -1, -1, -2),
        ] as [(Duration, Int64, Int64, Int64)])
    func rounding(_ duration: Duration, _ cut: Int64, _ up: Int64, _ nearest: Int64) {
        #expect(duration.whole(.seconds) == cut)
        #expect(duration.whole(.seconds, .up) == up)
        #expect(duration.whole(.seconds, .toNearest) == nearest)
    }

    @Test("A duration is counted in each unit")
    func units() {
        let duration = Duration.seconds(2) + .nanoseconds(3_004_999)
        #expect(duration.whole(.seconds) == 2)
        #expect(duration.whole(.milliseconds) == 2_003)
        #expect(duration.whole(.microseconds) == 2_003_004)
        #expect(duration.whole(.milliseconds, .up) == 2_004)
        #expect(duration.whole(.microseconds, .toNearest) == 2_003_005)
    }

    @Test("A duration beyond the range of Int64 gets the nearest bound")
    func limits() {
        #expect(Duration.seconds(Int64.max).whole(.seconds) == .max)
        #expect(Duration.seconds(Int64.min).whole(.seconds) == .min)
        for unit in [DurationUnit.milliseconds, .microseconds] {
            #expect(Duration.seconds(Int64.max).whole(unit) == .max)
            #expect(Duration.seconds(Int64.min).whole(unit) == .min)
        }
    }
}
