import Foundation

/// Cuts a stream of audio into stretches of speech at its pauses, and drops the silence between them.
///
/// A value: bytes in, finished stretches out; it holds two seconds of audio beside the stretch at hand, however long the recording.
/// The recogniser has a detector of its own, but it works on what it is given as one whole: cutting before it bounds its memory,
/// gives every stretch its true time, and lets progress be seen.
///
/// Speech is what stands out of its surroundings: a frame of 10 ms counts as speech when its level is above a threshold between the
/// quiet and the loud frames of the last ten and the next two seconds. So a noisy room and a soft voice both work, and a steady
/// noise or a tone is not speech.
struct SpeechSegmenter {
    /// One stretch of audio that holds speech.
    struct Stretch: Equatable {
        /// The first frame, counted from the beginning of the recording.
        var start: Int
        /// The audio, in the form of ``AudioDecoder``.
        var audio: [UInt8]

        /// The number of frames.
        var frames: Int { audio.count / SpeechSegmenter.frameBytes }
    }

    /// The tuning, in frames of 10 ms and decibels below full scale.
    struct Tuning {
        /// Seen in advance before a frame is judged.
        var lookahead = 200
        /// Remembered to know what is quiet and what is loud here.
        var memory = 1_000
        /// Below this level nothing is speech.
        var floor: Float = -60
        /// Speech is at least this much above the quiet frames.
        var margin: Float = 6
        /// Speech is at least this part of the way from the quiet to the loud frames.
        var share: Float = 0.3
        /// So many loud frames of the last ten begin a stretch.
        var onset = 6
        /// Kept before and after the speech, since the edges of words are soft.
        var padding = 25
        /// A pause this long ends a stretch.
        var pause = 50
        /// A pause this long ends a stretch that is longer than `long`.
        var shortPause = 25
        /// See `shortPause`.
        var long = 600
        /// No stretch is longer; it is cut at its quietest place in the last third.
        var longest = 1_500
    }

    /// Frames in a second.
    static let framesPerSecond = 100
    /// Bytes of audio in a frame.
    static let frameBytes = AudioDecoder.bytesPerSecond / framesPerSecond

    private enum State {
        /// No speech; goes to `speaking` at an onset.
        case quiet
        /// In a stretch that began at `start`, and whose last loud frame was `lastLoud`; goes to `quiet` at a pause.
        case speaking(start: Int, lastLoud: Int)
    }

    private let tuning: Tuning
    private var state = State.quiet
    /// Audio from frame `base` on; the last frame may be incomplete.
    private var audio: [UInt8] = []
    /// The levels of the frames from `base` on that are complete.
    private var levels: [Float] = []
    private var base = 0
    /// The levels from frame `windowBase` on, for the threshold; they reach further back than the audio.
    private var window: [Float] = []
    private var windowBase = 0
    private var threshold: Float = 0
    /// The next frame to judge, and what was judged of the last ten.
    private var next = 0
    private var recent: [Bool] = []
    /// Nothing before this frame may be used again.
    private var used = 0

    init(tuning: Tuning = Tuning()) {
        self.tuning = tuning
    }

    /// How much audio is kept at the moment.
    var heldBytes: Int { audio.count }

    /// Takes the next bytes of audio and returns the stretches that ended in them.
    mutating func consume(_ bytes: [UInt8]) -> [Stretch] {
        audio.append(contentsOf: bytes)
        measure()
        return judge(upTo: base + levels.count - tuning.lookahead)
    }

    /// The recording has ended: returns the stretches that are left.
    mutating func finish() -> [Stretch] {
        var stretches = judge(upTo: base + levels.count)
        if case .speaking(let start, let lastLoud) = state {
            stretches.append(stretch(from: start, to: min(lastLoud + tuning.padding, base + levels.count)))
            state = .quiet
        }
        return stretches
    }

    /// Computes the levels of the frames that have become complete.
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

    /// The level of a frame in decibels below full scale, its constant part removed.
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
            // Half a second at a time has one threshold; sorting 12 s of levels for every frame would cost more than recognising.
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

    /// One frame of the state machine.
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

    /// The middle of the quietest tenth of a second between two frames.
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
        // Not all that has arrived: the cuts must not depend on the size of the pieces in which it does.
        let sorted = window.prefix(next + tuning.lookahead - windowBase).sorted()
        let quiet = sorted[sorted.count / 10]
        let loud = sorted[sorted.count * 19 / 20]
        threshold = max(quiet + max(tuning.margin, tuning.share * (loud - quiet)), tuning.floor)
    }

    /// Drops the audio that no stretch can need.
    private mutating func forget() {
        let needed: Int
        switch state {
        case .quiet: needed = max(next - 10 - tuning.padding, used)
        case .speaking(let start, _): needed = start
        }
        let count = min(needed - base, levels.count)
        // Dropping in large steps keeps the cost of moving the rest small.
        guard count >= 100 else { return }
        audio.removeFirst(count * Self.frameBytes)
        levels.removeFirst(count)
        base += count
    }
}
