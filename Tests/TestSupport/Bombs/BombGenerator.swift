import Foundation
import PropertySupport

/// Draws bombs from a seed: files of every accepted container, with random numbers, tables, nesting and lengths.
///
/// A number of a file is the truth, an extreme or of any order of magnitude. Some bombs only announce much, and some have it:
/// silence is small in every format.
struct BombGenerator {
    var random: SeededGenerator
    /// The greatest number of repeated parts in one file.
    let parts: Int
    /// How many fields there are for each one that lies, or nil if none does.
    ///
    /// A program stops at the first lie that it sees. A file with few lies gets further.
    private let fieldsPerLie: Int?
    /// True if the sample rates and numbers of channels are unusual.
    let hasOddSound: Bool

    private init(seed: UInt64, parts: Int) {
        var random = SeededGenerator(seed: seed)
        fieldsPerLie = random.pick([nil, nil, 200, 30, 5])
        hasOddSound = random.happens(oneIn: 3)
        (self.random, self.parts) = (random, parts)
    }

    /// The containers, with the functions that fill them.
    private static let shapes: [(name: String, draw: @Sendable (inout BombGenerator) -> Data)] = [
        ("an MP4 of fragments", { $0.fragments() }), ("an MP4 of tables", { $0.tables() }),
        ("an MP4 of boxes in boxes", { $0.boxes() }), ("a WAV", { $0.wave() }), ("an AIFF", { $0.aiff() }),
        ("a CAF", { $0.coreAudio() }), ("a Matroska of tracks", { $0.matroskaTracks() }),
        ("a Matroska of elements in elements", { $0.elements() }), ("a Matroska of blocks", { $0.blocks() }),
        ("an Ogg chain", { $0.oggChain() }), ("an Ogg of parallel streams", { $0.oggStreams() }),
        ("a FLAC", { $0.flac() }), ("an MP3", { $0.mpeg() }), ("an ADTS", { $0.adts() }), ("an AMR", { $0.amr() }),
    ]

    /// The bomb of a seed.
    static func bomb(seed: UInt64, parts: Int) -> Bomb {
        var generator = BombGenerator(seed: seed, parts: parts)
        // Successive seeds draw successive shapes: few bombs are enough for all.
        let shape = shapes[Int(seed % UInt64(shapes.count))]
        let changes = generator.random.happens(oneIn: 5)
        let (begun, isChanged) = (generator, changes)
        return Bomb(name: "seed \(seed): \(shape.name)\(changes ? ", changed" : "")") {
            var generator = begun
            let file = shape.draw(&generator)
            return isChanged ? generator.change(file) : file
        }
    }

    // MARK: - Numbers

    /// Draws a number from 1 to a limit; each order of magnitude is as probable as the others.
    mutating func size(_ limit: Int) -> Int {
        let bits = Int.random(in: 0...(Int.bitWidth - 1 - limit.leadingZeroBitCount), using: &random)
        let smallest = 1 << bits
        return Int.random(in: smallest...min(limit, smallest + (smallest - 1)), using: &random)
    }

    /// Draws what a field of some bytes says: mostly the truth, or an extreme or anything.
    mutating func claim(_ truth: Int, _ bytes: Int) -> Int {
        guard let fieldsPerLie, random.happens(oneIn: fieldsPerLie) else { return truth }
        let largest = bytes >= 8 ? Int.max : 1 << (8 * bytes) - 1
        switch Int.random(in: 0..<4, using: &random) {
        case 0, 1: return random.pick([0, 1, largest, largest - 1, largest / 2, largest / 2 + 1])
        case 2: return size(largest)
        default: return truth &+ Int.random(in: -9...9, using: &random)
        }
    }

    /// Draws a sample rate.
    ///
    /// An odd one often makes hours of a few bytes.
    mutating func rate() -> Int {
        guard hasOddSound else { return random.pick([8_000, 16_000, 44_100, 48_000]) }
        switch Int.random(in: 0..<3, using: &random) {
        case 0: return Int.random(in: 1...50, using: &random)
        case 1: return size(0xFFFF_FFFF)
        default: return random.pick([3_999, 4_000, 192_000, 768_000])
        }
    }

    /// Draws a number of channels.
    mutating func channels() -> Int { hasOddSound ? size(65_535) : random.pick([1, 1, 2, 6]) }

    /// Overwrites a few fields of the beginning with extremes.
    private mutating func change(_ file: Data) -> Data {
        var file = [UInt8](file)
        for _ in 0..<Int.random(in: 1...8, using: &random) where file.count > 16 {
            let width = random.pick([1, 2, 4, 8])
            let place = Int.random(in: 12..<min(file.count - 1, 4_096), using: &random)
            let value = random.pick([0x00, 0x00, 0x01, 0x7F, 0x80, 0xFF, 0xFF]) as UInt8
            for index in place..<min(place + width, file.count) { file[index] = value }
        }
        return Data(file)
    }
}

extension Bomb {
    /// The number of seeded bombs, and the first seed: `BOMBS_COUNT` and `BOMBS_SEED`.
    private static func number(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    /// The first seed.
    ///
    /// The long form draws another one in each run. The short form begins with the shape that costs most memory.
    private static let seed = number("BOMBS_SEED") ?? (isLong ? UInt64.random(in: 1...1_000_000) : 15)

    /// Bombs from successive seeds.
    public static let seeded: [Bomb] = {
        let count = number("BOMBS_COUNT") ?? (isLong ? 60 : 4)
        if isLong { print("BOMBS_SEED=\(seed) BOMBS_COUNT=\(count)") }
        return (seed..<(seed + count)).map { BombGenerator.bomb(seed: $0, parts: isLong ? 20_000 : 500) }
    }()
}
