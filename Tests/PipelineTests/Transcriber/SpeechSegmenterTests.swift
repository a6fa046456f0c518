import Testing

@testable import Pipeline

/// The segmenter with synthetic audio: noise that swells and fades like syllables, tones, hum and silence.
@Suite struct SpeechSegmenterTests {
    /// Makes audio from a function of the sample's index.
    private func audio(_ seconds: Double, _ sample: (Int) -> Double) -> [UInt8] {
        var bytes: [UInt8] = []
        for number in 0..<Int(seconds * 16_000) {
            let value = UInt16(bitPattern: Int16(max(-32_767, min(32_767, sample(number)))))
            bytes.append(UInt8(value & 0xFF))
            bytes.append(UInt8(value >> 8))
        }
        return bytes
    }

    private func noise(_ number: Int) -> Double {
        // A linear congruential generator, stepped by its index. It gives the same noise in every run.
        var state = UInt64(number) &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        state ^= state >> 29
        state = state &* 0xBF58_476D_1CE4_E5B9
        return Double(Int32(truncatingIfNeeded: state >> 24)) / Double(Int32.max)
    }

    /// Makes noise with four syllables a second.
    private func speech(_ seconds: Double, volume: Double = 8_000) -> [UInt8] {
        audio(seconds) { noise($0) * volume * ($0 % 4_000 < 2_800 ? 1 : 0.02) }
    }

    private func silence(_ seconds: Double, volume: Double = 20) -> [UInt8] {
        audio(seconds) { noise($0) * volume }
    }

    private func stretches(of audio: [UInt8], pieces: Int = 65_536) -> [SpeechSegmenter.Stretch] {
        var segmenter = SpeechSegmenter()
        var result: [SpeechSegmenter.Stretch] = []
        var rest = audio[...]
        while !rest.isEmpty {
            result += segmenter.consume(Array(rest.prefix(pieces)))
            rest = rest.dropFirst(pieces)
        }
        return result + segmenter.finish()
    }

    @Test("A steady sound is not speech", arguments: [1.0, 30, 8_000])
    func findsNothingInSteadySound(volume: Double) {
        #expect(stretches(of: silence(6, volume: volume)).isEmpty)
        #expect(stretches(of: audio(6) { $0 % 36 < 18 ? volume : -volume }).isEmpty)
        #expect(stretches(of: audio(6) { _ in volume }).isEmpty)
        #expect(stretches(of: []).isEmpty)
        #expect(stretches(of: [1]).isEmpty)
    }

    @Test("Speech of any volume is cut at its pauses", arguments: [300.0, 8_000, 30_000])
    func cutsAtPauses(volume: Double) {
        let found = stretches(
            of: silence(2) + speech(3, volume: volume) + silence(1.5) + speech(2, volume: volume) + silence(2)
        )
        #expect(found.count == 2)
        for (stretch, (start, end)) in zip(found, [(200, 500), (650, 850)]) {
            #expect(abs(stretch.start - start) <= 40)
            #expect(abs(stretch.start + stretch.frames - end) <= 45)
        }
    }

    @Test("Speech at the beginning and the end of a recording is found")
    func findsSpeechThatBeginsAndEndsWithTheRecording() {
        let found = stretches(of: speech(3))
        #expect(found.count == 1)
        #expect((found.first?.start ?? 99) <= 10)
        #expect((found.first?.frames ?? 0) >= 270)
    }

    @Test("The cuts do not depend on the size of the pieces of audio")
    func dependsNotOnHowTheBytesArrive() {
        let all = silence(1) + speech(2.5) + silence(1) + speech(1.7)
        let whole = stretches(of: all, pieces: .max)
        #expect(whole.count == 2)
        for pieces in [319, 1_001, 65_536] { #expect(stretches(of: all, pieces: pieces) == whole) }
    }

    /// A speaker without pauses is cut at the quietest point.
    @Test("A stretch has a limit, and no audio is lost between two stretches")
    func boundsAStretchWithoutLosingAny() {
        let found = stretches(of: silence(1) + speech(40) + silence(1))
        #expect(found.count >= 3)
        for stretch in found { #expect(stretch.frames <= 1_500) }
        for (one, two) in zip(found, found.dropFirst()) { #expect(one.start + one.frames == two.start) }
        #expect(found.reduce(0) { $0 + $1.frames } >= 3_950)
    }

    /// The bound is the longest stretch.
    @Test("The audio in memory does not grow with the recording")
    func holdsLittle() {
        var segmenter = SpeechSegmenter()
        let second = speech(1)
        let quiet = silence(1)
        var most = 0
        for minute in 0..<90 {
            _ = segmenter.consume(minute % 30 < 20 ? second : quiet)
            most = max(most, segmenter.heldBytes)
        }
        #expect(most <= (1_500 + 200 + 300) * SpeechSegmenter.frameBytes)
    }
}
