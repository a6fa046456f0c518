import FoundationEssentials
import Glibc

/// Cuts audio into stretches of speech at the pauses, and drops the silence between them.
///
/// This is a value without I/O: bytes in, stretches out. It keeps two seconds of audio and the present stretch, however
/// long the recording is. The recogniser has a detector of its own, but treats its input as one whole. Cutting first
/// bounds the recogniser's memory, gives every stretch its true time, and makes progress visible.
///
/// A frame of 10 ms is speech if its level is above a threshold. The threshold lies between the quiet and the loud
/// frames of the last ten and the next two seconds. A noisy room and a soft voice therefore both work, and a steady
/// noise or tone is not speech.
struct SpeechSegmenter {
    /// A stretch of audio with speech.
    struct Stretch: Equatable {
        /// The index of the first frame in the recording.
        var start: Int
        /// The audio, in the format of ``AudioDecoder``.
        var audio: [UInt8]

        /// The number of frames.
        var frames: Int { audio.count / SpeechSegmenter.frameBytes }
    }

    /// The parameters, in frames of 10 ms and in decibels below full scale.
    struct Tuning {
        /// The number of frames after the judged one that count for the threshold.
        var lookahead = 200
        /// The number of frames before the judged one that count for the threshold.
        var memory = 1_000
        /// The lowest level of speech.
        var floor: Float = -60
        /// The smallest distance of speech from the quiet frames.
        var margin: Float = 6
        /// The smallest distance of speech from the quiet frames, as a part of the distance from quiet to loud.
        var share: Float = 0.3
        /// The number of loud frames, of the last ten, that begins a stretch.
        var onset = 6
        /// The number of frames kept before and after the speech, because the edges of words are soft.
        var padding = 25
        /// The length of a pause that ends a stretch.
        var pause = 50
        /// The length of a pause that ends a stretch longer than `long`.
        var shortPause = 25
        /// The length from which `shortPause` applies.
        var long = 600
        /// The longest stretch.
        ///
        /// It is cut at the quietest point of its last third.
        var longest = 1_500
    }

    /// Frames per second.
    static let framesPerSecond = 100
    /// Bytes per frame.
    static let frameBytes = AudioDecoder.bytesPerSecond / framesPerSecond

    private enum State {
        /// No speech. An onset leads to `speaking`.
        case quiet
        /// In a stretch that began at `start`, with the last loud frame `lastLoud`. A pause leads to `quiet`.
        case speaking(start: Int, lastLoud: Int)
    }

    private let tuning: Tuning
    private var state = State.quiet
    /// The audio from frame `base` on.
    ///
    /// The last frame may be incomplete.
    private var audio: [UInt8] = []
    /// The levels of the complete frames from `base` on.
    private var levels: [Float] = []
    private var base = 0
    /// The levels from frame `windowBase` on, for the threshold.
    ///
    /// They begin before the audio.
    private var window: [Float] = []
    private var windowBase = 0
    private var threshold: Float = 0
    /// The next frame to judge, and the judgements of the last ten frames.
    private var next = 0
    private var recent: [Bool] = []
    /// The end of the last stretch.
    ///
    /// No frame before it goes into another stretch.
    private var used = 0

    init(tuning: Tuning = Tuning()) {
        self.tuning = tuning
    }

    /// The number of bytes of audio in memory.
    var heldBytes: Int { audio.count }

    /// Takes the next bytes of audio, and returns the stretches that ended.
    mutating func consume(_ bytes: [UInt8]) -> [Stretch] {
        audio.append(contentsOf: bytes)
        measure()
        return judge(upTo: base + levels.count - tuning.lookahead)
    }

    /// Returns the remaining stretches at the end of the recording.
    mutating func finish() -> [Stretch] {
        var stretches = judge(upTo: base + levels.count)
        if case .speaking(let start, let lastLoud) = state {
            stretches.append(stretch(from: start, to: min(lastLoud + tuning.padding, base + levels.count)))
            state = .quiet
        }
        return stretches
    }

    /// Computes the levels of the newly completed frames.
    private mutating func measure() {
        let complete = audio.count / Self.frameBytes
        guard complete > levels.count else { return }
        let first = levels.count
        audio.withUnsafeBytes { bytes in
            for frame in first..<complete {
                let samples = bytes[(frame * Self.frameBytes)..<((frame + 1) * Self.frameBytes)]
                let level = Self.level(of: UnsafeRawBufferPointer(rebasing: samples))
                levels.append(level)
                window.append(level)
            }
        }
    }

    /// The level of a frame in decibels below full scale, without its constant part.
    private static func level(of frame: UnsafeRawBufferPointer) -> Float {
        var sum = 0
        var squares = 0
        for offset in stride(from: 0, to: frame.count, by: 2) {
            let sample = Int(Int16(truncatingIfNeeded: Int(frame[offset]) | Int(frame[offset + 1]) << 8))
            sum += sample
            squares += sample * sample
        }
        let count = Float(frame.count / 2)
        let power = (Float(squares) - Float(sum) * Float(sum) / count) / count / (32_768 * 32_768)
        return power > 1e-10 ? 10 * log10(power) : -100
    }

    private mutating func judge(upTo end: Int) -> [Stretch] {
        var stretches: [Stretch] = []
        while next < end {
            // The threshold is the same for half a second. Sorting 12 s of levels for each frame would cost more than
            // recognition.
            if next % 50 == 0 { updateThreshold() }
            let isLoud = levels[next - base] > threshold
            recent.append(isLoud)
            if recent.count > 10 { recent.removeFirst() }
            if let ended = advance(isLoud: isLoud) { stretches.append(ended) }
            next += 1
        }
        forget()
        return stretches
    }

    /// Moves the state machine by one frame.
    private mutating func advance(isLoud: Bool) -> Stretch? {
        switch state {
        case .quiet:
            guard recent.count(where: { $0 }) >= tuning.onset else { return nil }
            state = .speaking(start: max(next - recent.count + 1 - tuning.padding, used), lastLoud: next)
            return nil
        case .speaking(let start, let lastLoud):
            let lastLoud = isLoud ? next : lastLoud
            state = .speaking(start: start, lastLoud: lastLoud)
            let length = next - start
            if next - lastLoud >= (length > tuning.long ? tuning.shortPause : tuning.pause) {
                state = .quiet
                recent = []
                return stretch(from: start, to: lastLoud + tuning.padding)
            }
            guard length >= tuning.longest else { return nil }
            let cut = quietest(from: start + tuning.longest * 2 / 3, to: next)
            state = .speaking(start: cut, lastLoud: max(lastLoud, cut))
            return stretch(from: start, to: cut)
        }
    }

    /// Finds the middle of the quietest tenth of a second between two frames.
    private func quietest(from: Int, to: Int) -> Int {
        var best = from
        var bestLevel = Float.infinity
        for frame in stride(from: from, to: to - 10, by: 2) {
            let level = levels[(frame - base)..<(frame - base + 10)].reduce(0, +)
            if level < bestLevel { (best, bestLevel) = (frame + 5, level) }
        }
        return best
    }

    private mutating func stretch(from start: Int, to end: Int) -> Stretch {
        used = end
        let lower = (start - base) * Self.frameBytes
        return Stretch(start: start, audio: Array(audio[lower..<min((end - base) * Self.frameBytes, audio.count)]))
    }

    private mutating func updateThreshold() {
        let excess = next - tuning.memory - windowBase
        if excess > 0 {
            window.removeFirst(excess)
            windowBase += excess
        }
        // Leaves out later levels: the cuts must not depend on the size of the pieces in which audio arrives.
        let sorted = window.prefix(next + tuning.lookahead - windowBase).sorted()
        let quiet = sorted[sorted.count / 10]
        let loud = sorted[sorted.count * 19 / 20]
        threshold = max(quiet + max(tuning.margin, tuning.share * (loud - quiet)), tuning.floor)
    }

    /// Drops the audio that no stretch needs.
    private mutating func forget() {
        let needed: Int
        switch state {
        case .quiet: needed = max(next - 10 - tuning.padding, used)
        case .speaking(let start, _): needed = start
        }
        let count = min(needed - base, levels.count)
        // Dropping large pieces keeps the cost of moving the rest small.
        guard count >= 100 else { return }
        audio.removeFirst(count * Self.frameBytes)
        levels.removeFirst(count)
        base += count
    }
}
