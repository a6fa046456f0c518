/// Adds up the lengths of the Ogg streams that follow each other in a file.
///
/// A recorder that was stopped and started again may append to its file: a chain of *links*. ffmpeg decodes a chain as
/// long as its codec stays the same, and ffprobe prints the length of one link. The pages say how much there is: each has
/// the time of its end, its *granule position*. Sources: RFC 3533, 6; RFC 7845, 4; the Vorbis I specification, 4.2.2 and
/// A.2; the mapping of Ogg FLAC.
struct OggChain {
    /// The greatest number of pages that are read.
    ///
    /// An hour of speech has a few thousand.
    private static let pageLimit = 1_000_000
    private static let headerLength = 27
    /// The greatest length of a page's header, and the beginning of its body that tells the codec.
    private static let readLength = headerLength + 255 + 64
    /// A first page that ends later than this, in seconds, belongs to a stream that began before the recording.
    private static let latestStart = 5

    /// A stream of a link.
    private struct Stream {
        /// Granules a second.
        var rate: Int
        /// Granules that the decoder drops.
        var skipped = 0
        var start: Int?
        var end = 0

        var seconds: Double { Double(max(end - (start ?? 0) - skipped, 0)) / Double(rate) }

        mutating func note(_ granule: Int) {
            guard granule >= 0 else { return }
            if start == nil { start = granule <= latestStart * rate ? 0 : granule }
            end = max(end, granule)
        }
    }

    private var finished = 0.0
    private var links = 0
    private var streams: [Int: Stream] = [:]
    private var isAtBeginning = false

    /// The length of a chain.
    ///
    /// - Parameter bytes: The file.
    /// - Returns: The seconds of all links; nil for a file with one link, or without regular pages.
    /// - Throws: `Errno` when the file cannot be read.
    static func seconds(_ bytes: HeaderBytes) throws -> Double? {
        var chain = OggChain()
        var position = 0
        for _ in 0..<pageLimit {
            let page = try bytes.read(at: position, upTo: readLength)
            guard page.count >= headerLength, page.starts(with: "OggS".utf8) else { break }
            let table = page[headerLength...].prefix(Int(page[26]))
            guard table.count == Int(page[26]) else { break }
            chain.take(page, body: page[(headerLength + table.count)...])
            position += headerLength + table.count + table.reduce(0) { $0 + Int($1) }
        }
        chain.endLink()
        return chain.links > 1 ? chain.finished : nil
    }

    private mutating func take(_ page: [UInt8], body: ArraySlice<UInt8>) {
        let serial = HeaderBytes.little(page[14..<18])
        let isFirst = page[5] & 0x02 != 0
        // All first pages of a link come before its other pages.
        if isFirst, !isAtBeginning { endLink() }
        isAtBeginning = isFirst
        if isFirst {
            streams[serial] = Self.stream(Array(body))
        } else {
            streams[serial]?.note(HeaderBytes.little(page[6..<14]))
        }
    }

    private mutating func endLink() {
        guard let longest = streams.values.map(\.seconds).max() else { return }
        finished += longest
        links += 1
        streams = [:]
    }

    /// Reads the first packet of a stream; nil for a codec without sound.
    private static func stream(_ packet: [UInt8]) -> Stream? {
        func shows(_ signature: String) -> Bool { packet.starts(with: signature.utf8) }
        let rate: Int
        if shows("\u{1}vorbis"), packet.count >= 16 {
            rate = HeaderBytes.little(packet[12..<16])
        } else if shows("OpusHead"), packet.count >= 12 {
            return Stream(rate: 48_000, skipped: HeaderBytes.little(packet[10..<12]))
        } else if shows("\u{7F}FLAC"), packet.count >= 30 {
            rate = HeaderBytes.big(packet[27..<30]) >> 4
        } else if shows("Speex   "), packet.count >= 40 {
            rate = HeaderBytes.little(packet[36..<40])
        } else {
            return nil
        }
        return rate > 0 ? Stream(rate: rate) : nil
    }
}
