/// Mixes the channels of a track, or the tracks of a recording, into one (docs/decisions/0034-mix-every-channel.md).
///
/// This is a value without I/O: interleaved samples in, mixed samples out. Each block of 50 ms is mixed by one rule:
///
/// 1. The loudest channel begins the mix. The others are added, from the loudest to the quietest, all with the same
///    weight. No channel has a meaning of its own: a voice may be on the channel that is called LFE.
/// 2. A channel that would make the mix quieter is left out of the block. If two sides have opposite polarity, the louder one
///    is therefore heard.
/// 3. The mix gets the loudness of its loudest channel. A voice on one of ten channels is thus not ten times quieter,
///    and ten equal channels do not clip.
///
/// A change of the weights fades over 10 ms and makes no click.
struct ChannelMixer {
    /// The number of frames that are mixed with the same weights.
    static let blockFrames = AudioDecoder.framesPerSecond / 20
    /// The number of frames over which the weights change.
    private static let fadeFrames = AudioDecoder.framesPerSecond / 100
    /// The part of its own power that a channel may take from the mix.
    ///
    /// A channel without relation to the mix adds all its power. One that is opposite to a part of it takes all.
    private static let takenPower: Float = 0.5
    /// The greatest amplification of the sum, which bounds the noise of a block that cancels out in part.
    private static let greatestGain: Float = 2

    /// The number of channels.
    let channels: Int
    /// Samples that do not fill a block.
    private var pending: [Int16] = []
    /// The weights at the end of the last block; empty before the first one.
    private var weights: [Float] = []

    init(channels: Int) {
        precondition(channels > 0)
        self.channels = channels
    }

    /// Takes interleaved samples, and returns the mix of the blocks that are full.
    mutating func mix(_ samples: [Int16]) -> [Int16] {
        guard channels > 1 else { return samples }
        pending += samples
        let size = Self.blockFrames * channels
        var mixed: [Int16] = []
        var start = 0
        while pending.count - start >= size {
            mixed += block(pending[start..<(start + size)])
            start += size
        }
        pending.removeFirst(start)
        return mixed
    }

    /// Returns the mix of the last samples, without an incomplete frame.
    mutating func finish() -> [Int16] {
        defer { pending = [] }
        return block(pending.prefix(pending.count / channels * channels))
    }

    private mutating func block(_ samples: ArraySlice<Int16>) -> [Int16] {
        guard !samples.isEmpty else { return [] }
        let columns = columns(of: samples)
        let next = weights(for: columns) ?? (weights.isEmpty ? equalWeights : weights)
        let last = weights.isEmpty ? next : weights
        weights = next
        let frames = samples.count / channels
        var sum = [Float](repeating: 0, count: frames)
        for channel in 0..<channels where last[channel] != 0 || next[channel] != 0 {
            let column = columns[channel]
            let step = (next[channel] - last[channel]) / Float(Self.fadeFrames)
            for frame in 0..<frames {
                let weight = frame < Self.fadeFrames ? last[channel] + step * Float(frame) : next[channel]
                sum[frame] += weight * column[frame]
            }
        }
        return sum.map { Int16(max(-32_768, min(32_767, $0.rounded()))) }
    }

    private var equalWeights: [Float] { Array(repeating: 1 / Float(channels), count: channels) }

    /// The samples of each channel.
    private func columns(of samples: ArraySlice<Int16>) -> [[Float]] {
        (0..<channels).map { channel in
            stride(from: samples.startIndex + channel, to: samples.endIndex, by: channels).map { Float(samples[$0]) }
        }
    }

    /// The weights for a block; nil for silence, which keeps the last ones.
    private func weights(for columns: [[Float]]) -> [Float]? {
        let powers = columns.map { Self.product($0, $0) }
        let order = powers.indices.sorted { (powers[$1], $0) < (powers[$0], $1) }
        guard let loudest = order.first, powers[loudest] > 0 else { return nil }
        var mix = columns[loudest]
        var power = powers[loudest]
        var parts = [loudest]
        for channel in order.dropFirst() where powers[channel] > 0 {
            let sum = power + 2 * Self.product(mix, columns[channel]) + powers[channel]
            guard sum >= power - Self.takenPower * powers[channel] else { continue }
            for frame in mix.indices { mix[frame] += columns[channel][frame] }
            power = sum
            parts.append(channel)
        }
        let gain = min((powers[loudest] / power).squareRoot(), Self.greatestGain)
        var weights = [Float](repeating: 0, count: channels)
        for channel in parts { weights[channel] = gain }
        return weights
    }

    private static func product(_ one: [Float], _ two: [Float]) -> Float {
        var sum: Float = 0
        for index in one.indices { sum += one[index] * two[index] }
        return sum
    }
}
