/// How far a transcription has come, as a value: which stretches wait, which are done, and what that means in per cent.
struct TranscriptionState: Sendable {
    /// The length of the recording as its container says.
    let duration: Double
    private var waiting: [Int: Double] = [:]
    private var segments: [Int: Transcript.Segment] = [:]
    private var decoded = 0.0
    private var next = 0
    private var highest = 0

    init(duration: Double) {
        self.duration = duration
    }

    /// Takes a new stretch, and gives it its number.
    mutating func add(startFrame: Int) -> Int {
        defer { next += 1 }
        waiting[next] = Double(startFrame) / Double(SpeechSegmenter.framesPerSecond)
        return next
    }

    /// The decoder has come this far, in seconds.
    mutating func decode(upTo seconds: Double) {
        decoded = seconds
    }

    /// A stretch is recognised.
    mutating func finish(_ number: Int, segment: Transcript.Segment?) {
        waiting[number] = nil
        segments[number] = segment
    }

    /// Seconds of audio before which everything is done.
    private var position: Double {
        // What the segmenter still holds was decoded and not yet handed out.
        waiting.values.min() ?? max(decoded - 2, 0)
    }

    /// What to tell the watchers after `elapsed` seconds of work; never falls, and 100 is left for the result.
    mutating func progress(elapsed: Double) -> StageProgress {
        let share = duration > 0 ? min(position / duration, 1) : 0
        highest = max(highest, min(Int(share * 100), 99))
        // The first seconds are spent on loading the model and say nothing about the speed.
        let remaining = position > 2 && elapsed > 1 ? max(duration - position, 0) * elapsed / position : nil
        return StageProgress(
            progress: highest,
            message: "Transcribing audio",
            estimatedTimeRemaining: remaining.map { Int($0.rounded(.up)) }
        )
    }

    /// The transcript of all that was recognised; nil when no word was.
    func transcript(durationSeconds: Double) -> Transcript? {
        guard !segments.isEmpty else { return nil }
        let ordered = segments.sorted { $0.key < $1.key }.map(\.value)
        return Transcript(segments: ordered, durationSeconds: (durationSeconds * 100).rounded() / 100)
    }
}
