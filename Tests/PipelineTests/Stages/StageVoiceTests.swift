import Testing

@testable import Pipeline

/// What the watchers of a session read while a stage runs.
@Suite struct StageVoiceTests {
    private static let notice = "The transcription program has said nothing for 8 minutes. It may have stalled."

    private func voice(tellsEstimates: Bool = true) -> StageVoice {
        StageVoice(title: "transcription", tellsEstimates: tellsEstimates)
    }

    @Test("The words of a stage pass as they are, and segments alone change none")
    func passes() {
        var voice = voice()
        let progress = StageProgress(progress: 5, message: "Loading", estimatedTimeRemaining: 7)
        #expect(voice.words(for: StageUpdate(progress: progress)) == progress)
        let silent = StageProgress(progress: 6)
        #expect(voice.words(for: StageUpdate(progress: silent)) == silent)
        #expect(voice.words(for: StageUpdate(segments: [TranscriptSegment(start: 0, end: 1, text: "a")])) == nil)
    }

    @Test("Where the database estimates, the estimates of the stage are left out")
    func leavesEstimatesOut() {
        var voice = voice(tellsEstimates: false)
        let progress = StageProgress(progress: 5, message: "Loading", estimatedTimeRemaining: 7)
        #expect(
            voice.words(for: StageUpdate(progress: progress)) == StageProgress(progress: 5, message: "Loading"))
    }

    @Test("A silence shows a notice without the former estimate, and the next word brings the former message back")
    func silence() {
        var voice = voice()
        let progress = StageProgress(progress: 40, message: "Half", estimatedTimeRemaining: 7)
        _ = voice.words(for: StageUpdate(progress: progress))
        #expect(
            voice.words(for: StageUpdate(silence: .began(.seconds(450))))
                == StageProgress(progress: 40, message: Self.notice))
        // A line on standard error has no words for people.
        #expect(
            voice.words(for: StageUpdate(silence: .ended)) == StageProgress(progress: 40, message: "Half"))
        #expect(voice.words(for: StageUpdate(silence: .ended)) == nil)
    }

    @Test("A stage that speaks again without a message has its last message, and one with a message has that")
    func speaksAgain() {
        var voice = voice()
        _ = voice.words(for: StageUpdate(progress: StageProgress(progress: 40, message: "Half")))
        _ = voice.words(for: StageUpdate(silence: .began(.seconds(450))))
        #expect(
            voice.words(for: StageUpdate(progress: StageProgress(progress: 41), silence: .ended))
                == StageProgress(progress: 41, message: "Half"))
        _ = voice.words(for: StageUpdate(silence: .began(.seconds(450))))
        #expect(
            voice.words(for: StageUpdate(progress: StageProgress(progress: 42, message: "More"), silence: .ended))
                == StageProgress(progress: 42, message: "More"))
    }

    @Test("A stage that never had a message has a plain one after its silence")
    func neverSpoke() {
        var voice = voice()
        let began = voice.words(for: StageUpdate(silence: .began(.seconds(10))))
        #expect(began?.message == "The transcription program has said nothing for 10 seconds. It may have stalled.")
        #expect(
            voice.words(for: StageUpdate(silence: .ended))
                == StageProgress(progress: 0, message: "The transcription program is at work"))
    }

    @Test("The notice comes after a quarter of the time until a stage is ended, and also where no stage is ended")
    func bound() {
        var limits = PipelineLimits()
        #expect(limits.silenceNotice == .seconds(450))
        limits.stallTimeout = .seconds(60)
        #expect(limits.silenceNotice == .seconds(15))
        limits.stallTimeout = nil
        #expect(limits.silenceNotice == .seconds(450))
    }
}
