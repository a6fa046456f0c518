/// A format of recordings that the server accepts.
///
/// A recording has an extension, a declared media type and leading bytes. All three must belong to the same format. The
/// server therefore refuses a renamed file before a decoder sees it.
public enum AudioFormat: String, Sendable, CaseIterable {
    case mp3, wav, mp4, webm, ogg, flac

    /// The number of leading bytes that ``init(leadingBytes:)`` needs.
    ///
    /// A shorter file is not a recording.
    public static let leadingByteCount = 12

    /// The accepted file name extensions, lower-case, without the dot.
    public var extensions: [String] {
        switch self {
        case .mp3: ["mp3"]
        case .wav: ["wav"]
        case .mp4: ["m4a", "mp4"]
        case .webm: ["webm"]
        case .ogg: ["ogg", "oga", "opus"]
        case .flac: ["flac"]
        }
    }

    /// The name of ffmpeg's demuxer for this format, the argument of its option `-f`.
    ///
    /// ffmpeg and ffprobe are told the format that the server found, and do not guess one themselves.
    public var demuxer: String {
        switch self {
        case .mp3: "mp3"
        case .wav: "wav"
        // One demuxer of this name reads the whole family of ISO base media files.
        case .mp4: "mov"
        case .webm: "matroska"
        case .ogg: "ogg"
        case .flac: "flac"
        }
    }

    /// The media types that clients declare for this format.
    ///
    /// Browsers differ: Chromium declares `audio/x-m4a` for an `.m4a`, and a `MediaRecorder` with a camera declares
    /// `video/webm`.
    public var mediaTypes: [String] {
        switch self {
        case .mp3: ["audio/mpeg", "audio/mp3", "audio/mpeg3", "audio/x-mpeg-3"]
        case .wav: ["audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"]
        case .mp4: ["audio/mp4", "audio/x-m4a", "audio/m4a", "audio/aac", "video/mp4"]
        case .webm: ["audio/webm", "video/webm"]
        case .ogg: ["audio/ogg", "audio/opus", "application/ogg", "video/ogg"]
        case .flac: ["audio/flac", "audio/x-flac"]
        }
    }

    /// The format for a file name's extension; nil for an extension that the server does not accept.
    public init?(filename: String) {
        guard let dot = filename.lastIndex(of: ".") else { return nil }
        let fileExtension = filename[filename.index(after: dot)...].lowercased()
        guard let format = Self.allCases.first(where: { $0.extensions.contains(fileExtension) }) else { return nil }
        self = format
    }

    /// Whether a declared media type fits this format.
    ///
    /// Parameters do not matter. `application/octet-stream` fits every format: the client does not know the type.
    public func accepts(mediaType: String) -> Bool {
        let essence = String(mediaType.prefix { $0 != ";" }).trimming(while: { $0 == " " || $0 == "\t" }).lowercased()
        return essence == "application/octet-stream" || mediaTypes.contains(essence)
    }

    /// The format of a file by its first ``leadingByteCount`` bytes; nil for a format that the server does not accept.
    ///
    /// The signatures are those of the WHATWG MIME Sniffing Standard, section 6.2, and of the formats themselves. An
    /// MP3 begins with an ID3 tag, or with a frame whose sync word is eleven set bits (ISO 11172-3, 2.4.1.3).
    public init?(leadingBytes bytes: [UInt8]) {
        guard bytes.count >= Self.leadingByteCount else { return nil }
        func shows(_ signature: String, at offset: Int = 0) -> Bool {
            bytes.dropFirst(offset).starts(with: signature.utf8)
        }
        if shows("RIFF"), shows("WAVE", at: 8) {
            self = .wav
        } else if shows("OggS") {
            self = .ogg
        } else if shows("fLaC") {
            self = .flac
        } else if shows("ftyp", at: 4) {
            guard !Self.pictureBrands.contains(String(decoding: bytes[8..<12], as: UTF8.self)) else { return nil }
            self = .mp4
        } else if bytes.starts(with: [0x1A, 0x45, 0xDF, 0xA3]) {
            self = .webm
        } else if shows("ID3") || Self.isMP3Frame(bytes) {
            self = .mp3
        } else {
            return nil
        }
    }

    /// The brands of ISO base media files with pictures (ISO 23008-12, 10; the registry at mp4ra.org).
    private static let pictureBrands: Set<String> = [
        "avif", "avis", "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "mif2", "msf1", "miaf", "jpeg", "jpgs",
        "avci", "avcs", "j2ki", "j2is", "jp2 ", "jpm ", "jpx ", "mjp2", "crx ",
    ]

    private static func isMP3Frame(_ bytes: [UInt8]) -> Bool {
        guard bytes[0] == 0xFF, bytes[1] & 0xE0 == 0xE0 else { return false }
        let version = bytes[1] >> 3 & 0b11
        let layer = bytes[1] >> 1 & 0b11
        let bitRate = bytes[2] >> 4
        let sampleRate = bytes[2] >> 2 & 0b11
        return version != 0b01 && layer == 0b01 && bitRate != 0b1111 && sampleRate != 0b11
    }
}
