/// Mixes tracks that arrive in pieces of any length into one, sample by sample.
///
/// This is a value without I/O. A track that has ended is silent until the longest one ends.
struct TrackMixer {
    private var waiting: [[Int16]]
    private var isEnded: [Bool]
    private var mixer: ChannelMixer

    init(count: Int) {
        waiting = Array(repeating: [], count: count)
        isEnded = Array(repeating: false, count: count)
        mixer = ChannelMixer(channels: count)
    }

    /// The track whose samples are needed next; nil when all have ended.
    var trackBehind: Int? {
        waiting.indices.filter { !isEnded[$0] }.min { waiting[$0].count < waiting[$1].count }
    }

    /// Takes the next samples of a track.
    mutating func take(_ samples: [Int16], from track: Int) { waiting[track] += samples }

    /// Notes the end of a track.
    mutating func end(_ track: Int) { isEnded[track] = true }

    /// Returns the mix of the samples that all tracks have.
    mutating func mix() -> [Int16] {
        let counts = waiting.indices.filter { !isEnded[$0] }.map { waiting[$0].count }
        guard let count = counts.min() ?? waiting.map(\.count).max(), count > 0 else { return [] }
        var interleaved = [Int16](repeating: 0, count: count * waiting.count)
        for track in waiting.indices {
            let taken = min(count, waiting[track].count)
            for frame in 0..<taken { interleaved[frame * waiting.count + track] = waiting[track][frame] }
            waiting[track].removeFirst(taken)
        }
        return mixer.mix(interleaved)
    }

    /// Returns the rest of the mix, after the end of all tracks.
    mutating func finish() -> [Int16] { mix() + mixer.finish() }
}
