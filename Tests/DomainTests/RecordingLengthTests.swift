import Domain
import Testing

@Suite struct RecordingLengthTests {
    @Test("A recording that lacks a part of what its file announces is incomplete, and says both lengths")
    func cut() {
        let cut = RecordingLength(decoded: 1_865, announced: 3_723)
        #expect(!cut.isComplete)
        #expect(
            cut.notice
                == "The recording is incomplete: the file announces 1:02:03, but only 31:05 could be read.")
        #expect(!RecordingLength(decoded: 0.9, announced: 3.1).isComplete)
        let cutTrack = RecordingLength(decoded: 60, announced: 60, hasCutTrack: true)
        #expect(!cutTrack.isComplete)
        #expect(cutTrack.notice == "The recording is incomplete: one of its tracks ends before its announced end.")
        #expect(!RecordingLength(decoded: 3_590, announced: 3_600).isComplete)
    }

    @Test(
        "Padding, a clock that drifts, and unknown lengths are no loss",
        arguments: [(3.136, 3.2), (3_594, 3_600), (6.2, 3.1), (nil, 3), (3, nil), (nil, nil)] as [(Double?, Double?)])
    func complete(decoded: Double?, announced: Double?) {
        let length = RecordingLength(decoded: decoded, announced: announced)
        #expect(length.isComplete)
        #expect(length.notice == nil)
    }

    @Test("A time is written as a player writes it")
    func clock() {
        #expect(RecordingLength.clock(0) == "0:00")
        #expect(RecordingLength.clock(3.14) == "0:03")
        #expect(RecordingLength.clock(59.6) == "1:00")
        #expect(RecordingLength.clock(3_599) == "59:59")
        #expect(RecordingLength.clock(14_400) == "4:00:00")
        #expect(RecordingLength.clock(-1) == "0:00")
    }
}
