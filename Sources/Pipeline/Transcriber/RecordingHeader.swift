import Domain
import SystemPackage

/// The facts that ffprobe does not print of a file's own header.
///
/// ffprobe corrects the length of a WAV or CAF file that was cut: it prints what is left. The header says how long the
/// recording was. For a chain of Ogg streams, ffprobe prints the length of one.
struct RecordingHeader: Sendable, Equatable {
    /// The seconds of audio that the header announces; nil if it announces none, or ffprobe prints it.
    var announced: Double?
    /// Samples a second; nil if ffprobe prints it.
    var sampleRate: Int?
    /// True if the samples go on behind the length that the header announces.
    ///
    /// A recorder that loses its power leaves the length of its last save.
    var isLengthWrong = false

    /// A header without facts.
    init() {}

    /// Reads the header of a file.
    ///
    /// - Parameters:
    ///   - file: The open file. Its offset does not change.
    ///   - format: The format of the file.
    /// - Throws: `Errno` when the file cannot be read.
    init(of file: FileDescriptor, format: AudioFormat) throws {
        let bytes = HeaderBytes(file: file)
        switch format {
        case .wav: try readWave(bytes)
        case .caf: try readCoreAudio(bytes)
        case .ogg: announced = try OggChain.seconds(bytes)
        case .flac: sampleRate = try Self.flacSampleRate(bytes)
        default: break
        }
    }

    // MARK: - WAV

    /// The greatest number of chunks in front of the samples.
    private static let chunkLimit = 1_000
    /// Sizes from here on stand for an unknown one: programs that write to a pipe use several.
    private static let unknownSize = 0x7FFF_0000

    /// How the size of the samples gives their length.
    private struct WaveFormat {
        /// Samples a second.
        var rate: Int
        /// The bytes of a second, or nil for packets of samples that were compressed.
        ///
        /// The field of this name may be wrong: ffmpeg does not read it.
        var bytesPerSecond: Int?

        init(_ format: [UInt8]) {
            let (tag, channels) = (HeaderBytes.little(format[..<2]), HeaderBytes.little(format[2..<4]))
            let bits = HeaderBytes.little(format[14..<16])
            rate = HeaderBytes.little(format[4..<8])
            // PCM, floating point, A-law, µ-law, and the extensible form, which has PCM or floating point.
            if [0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE].contains(tag) {
                bytesPerSecond = channels * ((bits + 7) / 8) * rate
            }
        }
    }

    /// Reads RIFF, RF64 and BW64.
    ///
    /// Sources: "Multimedia Programming Interface and Data Specifications 1.0"; EBU Tech 3306.
    private mutating func readWave(_ bytes: HeaderBytes) throws {
        var position = 12
        var format: WaveFormat?
        var longSize: Int?
        // The number of samples of each channel.
        var frames: Int?
        for _ in 0..<Self.chunkLimit {
            guard let chunk = try bytes.read(at: position, 8) else { return }
            let name = String(decoding: chunk.prefix(4), as: UTF8.self)
            let size = HeaderBytes.little(chunk[4...])
            switch name {
            case "ds64":
                longSize = try bytes.read(at: position + 8, 16).map { HeaderBytes.little($0[8...]) }
            case "fmt ":
                format = try bytes.read(at: position + 8, 16).map { WaveFormat($0) }
            case "fact":
                frames = try bytes.read(at: position + 8, 4).map { HeaderBytes.little($0) }
            case "data":
                guard let format, format.rate > 0 else { return }
                let isLong = size == 0xFFFF_FFFF && longSize != nil
                try readSamples(
                    bytes, at: position + 8, size: isLong ? longSize ?? 0 : size, format: format, frames: frames)
                return
            default: break
            }
            position += 8 + size + size % 2
        }
    }

    private mutating func readSamples(
        _ bytes: HeaderBytes, at position: Int, size: Int, format: WaveFormat, frames: Int?
    ) throws {
        guard let length = try bytes.length(), size > 0, size < Int.max / 2 else { return }
        guard size < Self.unknownSize || position + size <= length else { return }
        // Another chunk, or nothing, follows the samples. ffmpeg would stop at the announced end.
        let end = position + size + size % 2
        if end + 8 < length, let next = try bytes.read(at: end, 8),
            !next.prefix(4).allSatisfy({ (0x20...0x7E).contains($0) })
                || end + 8 + HeaderBytes.little(next[4...]) > length + 1
        {
            isLengthWrong = true
        } else if let bytesPerSecond = format.bytesPerSecond, bytesPerSecond > 0 {
            announced = Double(size) / Double(bytesPerSecond)
        } else if format.bytesPerSecond == nil, let frames, frames > 0, frames < Self.unknownSize {
            announced = Double(frames) / Double(format.rate)
        }
    }

    // MARK: - CAF

    /// Reads the Core Audio Format.
    ///
    /// Source: "Apple Core Audio Format Specification 1.0".
    private mutating func readCoreAudio(_ bytes: HeaderBytes) throws {
        var position = 8
        var secondsPerByte: Double?
        for _ in 0..<Self.chunkLimit {
            guard let chunk = try bytes.read(at: position, 12) else { return }
            let name = Array(chunk.prefix(4))
            let size = HeaderBytes.big(chunk[4...])
            if name == Array("desc".utf8), let description = try bytes.read(at: position + 12, 32) {
                let rate = Double(bitPattern: UInt64(truncatingIfNeeded: HeaderBytes.big(description[..<8])))
                let bytesPerPacket = HeaderBytes.big(description[16..<20])
                let framesPerPacket = HeaderBytes.big(description[20..<24])
                guard rate.isFinite, rate >= 1, bytesPerPacket > 0, framesPerPacket > 0 else { return }
                secondsPerByte = Double(framesPerPacket) / Double(bytesPerPacket) / rate
            } else if name == Array("data".utf8) {
                // The size -1 stands for "to the end of the file". The first four bytes count the edits.
                if let secondsPerByte, size > 4 { announced = Double(size - 4) * secondsPerByte }
                return
            }
            guard size >= 0, size < Int.max / 2 else { return }
            position += 12 + size
        }
    }

    // MARK: - FLAC

    /// The sample rate in STREAMINFO, which may stand behind an ID3 tag.
    ///
    /// Source: RFC 9639, 8.2.
    private static func flacSampleRate(_ bytes: HeaderBytes) throws -> Int? {
        let position = try bytes.read(at: 0, 10).flatMap(ID3Tag.length) ?? 0
        guard let start = try bytes.read(at: position, 21), start.starts(with: "fLaC".utf8) else { return nil }
        return HeaderBytes.big(start[18...]) >> 4
    }
}

/// Reads parts of a file.
struct HeaderBytes {
    let file: FileDescriptor

    /// The bytes at an offset; nil if the file ends before.
    func read(at offset: Int, _ count: Int) throws -> [UInt8]? {
        let bytes = try read(at: offset, upTo: count)
        return bytes.count == count ? bytes : nil
    }

    /// The bytes at an offset; fewer if the file ends before.
    func read(at offset: Int, upTo count: Int) throws -> [UInt8] {
        guard offset >= 0 else { return [] }
        var bytes = [UInt8](repeating: 0, count: count)
        let read = try bytes.withUnsafeMutableBytes { try file.read(fromAbsoluteOffset: Int64(offset), into: $0) }
        bytes.removeLast(count - read)
        return bytes
    }

    /// The length of the file; nil if it has none, such as a pipe.
    func length() throws -> Int? {
        let position = try file.seek(offset: 0, from: .current)
        defer { _ = try? file.seek(offset: position, from: .start) }
        return Int(try file.seek(offset: 0, from: .end))
    }

    static func little(_ bytes: some BidirectionalCollection<UInt8>) -> Int { big(bytes.reversed()) }

    static func big(_ bytes: some Collection<UInt8>) -> Int { bytes.reduce(0) { $0 << 8 | Int($1) } }
}
