/// The progress of a transcription: the waiting stretches, the finished segments and the percentage.
struct TranscriptionState: Sendable {
    /// The duration in seconds, from the recording's container.
    let duration: Double
    private var waiting: [Int: Double] = [:]
    private var segments: [Int: Transcript.Segment] = [:]
    private var decoded = 0.0
    private var next = 0
    private var highest = 0
    private var told = 0

    init(duration: Double) {
        self.duration = duration
    }

    /// Adds a stretch, and returns its number.
    mutating func add(startFrame: Int) -> Int {
        defer { next += 1 }
        waiting[next] = Double(startFrame) / Double(SpeechSegmenter.framesPerSecond)
        return next
    }

    /// Notes how far the decoder has come, in seconds.
    mutating func decode(upTo seconds: Double) {
        decoded = seconds
    }

    /// Notes that a stretch is recognised.
    mutating func finish(_ number: Int, segment: Transcript.Segment?) {
        waiting[number] = nil
        segments[number] = segment
    }

    /// The segments that were not taken before and that no unfinished stretch precedes, in their order.
    ///
    /// Several recognisers may finish a later stretch first. It waits for the earlier ones.
    mutating func takeSegments() -> [Transcript.Segment] {
        let known = told
        while told < next, waiting[told] == nil { told += 1 }
        return (known..<told).compactMap { segments[$0] }
    }

    /// All audio before this position, in seconds, is finished.
    private var position: Double {
        // The segmenter holds up to 2 s of decoded audio.
        waiting.values.min() ?? max(decoded - 2, 0)
    }

    /// The progress after `elapsed` seconds of work.
    ///
    /// It never falls, and stays below 100 until ``lastProgress``.
    mutating func progress(elapsed: Double) -> StageProgress {
        let share = duration > 0 ? min(position / duration, 1) : 0
        highest = max(highest, min(Int(share * 100), 99))
        // The first seconds load the model, and say nothing about the speed.
        let remaining = position > 2 && elapsed > 1 ? max(duration - position, 0) * elapsed / position : nil
        return StageProgress(
            progress: highest,
            message: "Transcribing audio",
            estimatedTimeRemaining: remaining.map { Int($0.rounded(.up)) }
        )
    }

    /// The progress when all is recognised, whatever the length was thought to be: the end of the stage.
    var lastProgress: StageProgress {
        mutating get {
            highest = 100
            return StageProgress(progress: highest, message: "Transcribing audio", estimatedTimeRemaining: 0)
        }
    }

    /// The transcript of all segments; nil without a word.
    func transcript(durationSeconds: Double) -> Transcript? {
        guard !segments.isEmpty else { return nil }
        let ordered = segments.sorted { $0.key < $1.key }.map(\.value)
        return Transcript(segments: ordered, durationSeconds: (durationSeconds * 100).rounded() / 100)
    }
}
