import Testing

@testable import Pipeline

@Suite struct RecognitionTests {
    @Test("A line of pocketsphinx gives words and their times")
    func readsAHypothesis() throws {
        let line = """
            stretch-0 S 0 T -20390226 A -19333120 L -1057106 0 -430080 0 <s> 20 -796672 -214 and(2) 37 -568320 -477 i'm \
            63 -470 -1 ++BREATH++ 70 -3 -4 <sil> 80 -600 -500 i 664 -717824 -524288 [SPEECH] 678 -717824 -169 </s> 708
            """
        let hypothesis = try #require(HypothesisLine(line))
        #expect(
            hypothesis.words == [
                .init(text: "and", frames: 20..<37), .init(text: "I'm", frames: 37..<63),
                .init(text: "I", frames: 80..<664),
            ])
        #expect(
            hypothesis.segment(startFrame: 1_000) == Transcript.Segment(start: 10.2, end: 16.64, text: "and I'm I"))
    }

    @Test("A line without words gives no segment")
    func knowsWhenNothingWasHeard() throws {
        #expect(try #require(HypothesisLine("s S 0 T 0 A 0 L 0 297")).segment(startFrame: 0) == nil)
        let silent = "s1 S 0 T -696 A -332 L -364 0 -241 0 <s> 85 -91 -364 </s> 197"
        #expect(try #require(HypothesisLine(silent)).segment(startFrame: 0) == nil)
        #expect(HypothesisLine("INFO: something else") == nil)
        #expect(HypothesisLine("") == nil)
    }

    @Test("The progress follows the oldest waiting stretch, and never falls")
    func progressFollowsTheOldestStretch() {
        var state = TranscriptionState(duration: 100)
        #expect(state.progress(elapsed: 0) == StageProgress(progress: 0, message: "Transcribing audio"))
        let first = state.add(startFrame: 100)
        let second = state.add(startFrame: 2_000)
        state.decode(upTo: 42)
        #expect(state.progress(elapsed: 5).progress == 1)
        state.finish(second, segment: nil)
        #expect(state.progress(elapsed: 5).progress == 1)
        state.finish(first, segment: Transcript.Segment(start: 1, end: 2, text: "a"))
        #expect(
            state.progress(elapsed: 20)
                == StageProgress(progress: 40, message: "Transcribing audio", estimatedTimeRemaining: 30))
        // A new stretch may begin before the present position. The progress stays.
        _ = state.add(startFrame: 3_900)
        #expect(state.progress(elapsed: 20).progress == 40)
        state.decode(upTo: 1_000)
    }

    @Test("The progress stays below 100 until all is recognised, and reaches 100 then")
    func neverClaimsToBeDone() {
        var state = TranscriptionState(duration: 10)
        state.decode(upTo: 60)
        #expect(state.progress(elapsed: 5).progress == 99)
        #expect(state.transcript(durationSeconds: 60) == nil)
        var short = TranscriptionState(duration: 1_000)
        short.decode(upTo: 10)
        #expect(short.progress(elapsed: 5).progress == 0)
        #expect(short.lastProgress.progress == 100)
        #expect(short.progress(elapsed: 5).progress == 100)
    }

    @Test("Segments are in order, whenever they are finished")
    func putsSegmentsInOrder() throws {
        var state = TranscriptionState(duration: 10)
        for _ in 0..<3 { _ = state.add(startFrame: 0) }
        state.finish(2, segment: .init(start: 5, end: 6, text: "c"))
        state.finish(0, segment: .init(start: 1, end: 2, text: "a b"))
        state.finish(1, segment: nil)
        let transcript = try #require(state.transcript(durationSeconds: 9.876_543))
        #expect(transcript.text == "a b c")
        #expect(transcript.durationSeconds == 9.88)
    }

    @Test("Each segment is taken once and in order, when all stretches before it are finished")
    func tellsSegmentsInOrder() {
        var state = TranscriptionState(duration: 10)
        for _ in 0..<4 { _ = state.add(startFrame: 0) }
        #expect(state.takeSegments().isEmpty)
        state.finish(1, segment: .init(start: 3, end: 4, text: "b"))
        #expect(state.takeSegments().isEmpty)
        state.finish(0, segment: .init(start: 1, end: 2, text: "a"))
        #expect(state.takeSegments().map(\.text) == ["a", "b"])
        #expect(state.takeSegments().isEmpty)
        state.finish(2, segment: nil)
        state.finish(3, segment: .init(start: 5, end: 6, text: "c"))
        _ = state.add(startFrame: 0)
        #expect(state.takeSegments().map(\.text) == ["c"])
    }
}
