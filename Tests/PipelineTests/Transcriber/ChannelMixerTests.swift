import Testing

@testable import Pipeline

/// The rule by which channels become one (decision 0034).
@Suite struct ChannelMixerTests {
    /// Samples of a voice: a tone, and another one for another voice.
    private func voice(_ pitch: Int, frames: Int = 16_000, volume: Double = 8_000) -> [Int16] {
        (0..<frames).map { Int16(($0 / pitch % 2 == 0 ? volume : -volume) * (Double($0 % pitch) / Double(pitch))) }
    }

    private func mix(_ channels: [[Int16]], pieces: Int = 1_234) -> [Int16] {
        var mixer = ChannelMixer(channels: channels.count)
        let frames = channels[0].count
        var interleaved = (0..<frames).flatMap { frame in channels.map { $0[frame] } }[...]
        var mixed: [Int16] = []
        while !interleaved.isEmpty {
            mixed += mixer.mix(Array(interleaved.prefix(pieces)))
            interleaved = interleaved.dropFirst(pieces)
        }
        return mixed + mixer.finish()
    }

    private func level(_ samples: some Collection<Int16>) -> Double {
        (samples.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(samples.count)).squareRoot()
    }

    /// How much of a voice is in a mix, from 0 to 1.
    private func share(of voice: [Int16], in mix: [Int16]) -> Double {
        let product = zip(voice, mix).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        return product / (level(voice) * level(mix) * Double(mix.count))
    }

    private var silence: [Int16] { Array(repeating: 0, count: 16_000) }

    @Test("One channel stays as it is")
    func single() {
        let voice = voice(40)
        #expect(mix([voice]) == voice)
    }

    @Test("Equal channels stay as loud as one of them", arguments: [2, 6, 40])
    func equal(count: Int) {
        let voice = voice(40)
        let mixed = mix(Array(repeating: voice, count: count))
        #expect(mixed.count == voice.count)
        #expect(zip(mixed, voice).allSatisfy { abs(Int($0) - Int($1)) <= 1 })
    }

    /// The fourth of six channels is the LFE of 5.1, which downmixes drop.
    @Test("A voice on any one of six channels is heard at its own level", arguments: 0..<6)
    func anyChannel(number: Int) {
        var channels = Array(repeating: silence, count: 6)
        channels[number] = voice(40)
        #expect(level(mix(channels)) > 0.99 * level(channels[number]))
    }

    @Test("Two voices on two channels are both heard")
    func both() {
        let mixed = mix([voice(40), voice(57)])
        #expect(share(of: voice(40), in: mixed) > 0.6)
        #expect(share(of: voice(57), in: mixed) > 0.6)
    }

    @Test("The louder of two opposite sides is heard, whichever it is")
    func opposite() {
        let voice = voice(40)
        let inverted = voice.map { Int16(-Int($0) * 3 / 4) }
        #expect(mix([voice, voice.map { -$0 }]) == voice)
        #expect(mix([voice, inverted]) == voice)
        #expect(mix([inverted, voice]) == voice)
    }

    @Test("Opposite sides do not silence the voice of a third channel")
    func oppositeAndMore() {
        let (one, other) = (voice(40), voice(57))
        let mixed = mix([one, one.map { -$0 }, other])
        #expect(share(of: one, in: mixed) > 0.6)
        #expect(share(of: other, in: mixed) > 0.6)
    }

    @Test("A side whose polarity changes half-way is heard throughout, and the change makes no click")
    func changingPolarity() {
        let voice = voice(40)
        let side = voice.enumerated().map { $0.offset < 8_000 ? $0.element : -$0.element }
        let mixed = mix([voice, side])
        for start in stride(from: 0, to: 16_000, by: 800) {
            #expect(level(mixed[start..<(start + 800)]) > 0.6 * level(voice))
        }
        #expect(mixed.allSatisfy { abs(Int($0)) <= 8_001 })
    }

    @Test("The mix does not depend on the size of the pieces, and drops an incomplete frame")
    func pieces() {
        let channels = [voice(40, frames: 16_001), voice(57, frames: 16_001), voice(31, frames: 16_001)]
        let whole = mix(channels, pieces: .max)
        #expect(whole.count == 16_001)
        for size in [1, 7, 4_801] { #expect(mix(channels, pieces: size) == whole) }
        var mixer = ChannelMixer(channels: 3)
        #expect(mixer.mix([1, 2]).isEmpty)
        #expect(mixer.finish().isEmpty)
    }

    @Test("Loud channels do not overflow")
    func loud() {
        let square: [Int16] = (0..<4_000).map { $0 / 20 % 2 == 0 ? .max : .min }
        let other: [Int16] = (0..<4_000).map { $0 / 33 % 2 == 0 ? .max : .min }
        #expect(mix([square, other, square]).count == 4_000)
        #expect(mix([silence, silence]) == silence)
    }

    // MARK: - Tracks

    @Test("Tracks of different lengths are mixed up to the end of the longest")
    func tracks() {
        let (short, long) = (voice(40, frames: 8_000), voice(57, frames: 20_000))
        var mixer = TrackMixer(count: 2)
        var mixed: [Int16] = []
        var rest = [short[...], long[...]]
        var sizes = [700, 1_300, 90].makeIterator()
        while let behind = mixer.trackBehind {
            let size = sizes.next() ?? 512
            if rest[behind].isEmpty {
                mixer.end(behind)
            } else {
                mixer.take(Array(rest[behind].prefix(size)), from: behind)
            }
            rest[behind] = rest[behind].dropFirst(size)
            mixed += mixer.mix()
        }
        mixed += mixer.finish()
        #expect(mixed.count == 20_000)
        #expect(share(of: short, in: Array(mixed.prefix(8_000))) > 0.6)
        #expect(Array(mixed.suffix(10_000)) == Array(long.suffix(10_000)))
    }

    // MARK: - The output of ffmpeg

    private let header: [UInt8] =
        Array(".snd".utf8) + [0, 0, 0, 28, 255, 255, 255, 255, 0, 0, 0, 3, 0, 0, 0x3E, 0x80, 0, 0, 0, 6, 0, 0, 0, 0]

    @Test("The header of the stream gives the channels, and the samples follow, in pieces of any length")
    func audioStream() throws {
        for size in [1, 3, 100] {
            var stream = AudioStream()
            var samples: [Int16] = []
            var rest = (header + [0x01, 0x02, 0xFF, 0xFE, 0x80])[...]
            while !rest.isEmpty {
                samples += try stream.take(Array(rest.prefix(size)))
                rest = rest.dropFirst(size)
            }
            #expect(stream.channels == 6)
            #expect(samples == [0x0102, -2])
        }
    }

    @Test("A stream with another header is refused", arguments: [(0, 0x2F), (7, 1), (18, 0), (23, 0), (22, 1)])
    func badAudioStream(index: Int, byte: UInt8) {
        var bytes = header
        bytes[index] = byte
        var stream = AudioStream()
        #expect(throws: AudioStream.Malformed.self) { try stream.take(bytes) }
    }
}
