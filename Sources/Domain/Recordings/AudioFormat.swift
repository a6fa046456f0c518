/// A format of recordings that the server accepts.
///
/// The bytes of a file decide its format (``FormatRecognizer``). Its name only needs one of the
/// ``acceptedExtensions``, and its declared type decides nothing (``DeclaredType``). The format of a stored recording
/// is known by its media type.
public enum AudioFormat: String, Sendable, CaseIterable {
    case mp3
    /// WAVE, also with 64-bit sizes (RF64, BW64).
    case wav
    /// An ISO base media file of MPEG-4 and its relatives.
    case mp4
    /// QuickTime: the ancestor of ISO base media files, and the format of an iPhone.
    case quickTime = "mov"
    /// 3GPP and 3GPP2, the ISO base media files of older phones.
    case threeGPP = "3gp"
    case webm
    case matroska = "mka"
    /// Ogg with any codec: Vorbis, Opus, FLAC or Speex.
    case ogg
    case flac
    /// AAC in ADTS frames, without a container.
    case aac
    /// AMR for speech of a narrow band.
    case amr
    /// AMR-WB for speech of a wide band.
    case amrWideband = "amr-wb"
    /// AIFF, and AIFC with compressed samples.
    case aiff
    /// The Core Audio Format of Apple.
    case caf

    /// The file name extensions of this format, lower-case, without the dot.
    ///
    /// A download whose name has another extension gets the first one.
    public var extensions: [String] {
        switch self {
        case .mp3: ["mp3"]
        case .wav: ["wav"]
        case .mp4: ["m4a", "mp4"]
        case .quickTime: ["mov", "qta"]
        case .threeGPP: ["3gp"]
        case .webm: ["webm"]
        case .matroska: ["mka"]
        case .ogg: ["ogg", "oga", "opus"]
        case .flac: ["flac"]
        case .aac: ["aac"]
        case .amr, .amrWideband: ["amr"]
        case .aiff: ["aiff", "aif"]
        case .caf: ["caf"]
        }
    }

    /// The extensions that the name of an upload may have, in any case, whatever its format.
    public static let acceptedExtensions: [String] = allCases.flatMap(\.extensions).reduce(into: []) {
        if !$0.contains($1) { $0.append($1) }
    }

    /// Whether the name of a file has one of the ``acceptedExtensions``.
    public static func acceptsExtension(of filename: String) -> Bool {
        filename.fileExtension.map { acceptedExtensions.contains($0) } ?? false
    }

    /// The media type of a recording of this format.
    ///
    /// No two formats have the same one: the database stores the format as its media type. A recording is audio, also
    /// if the file has a picture. QuickTime has no type of audio of its own.
    public var mediaType: String {
        switch self {
        case .mp3: "audio/mpeg"
        case .wav: "audio/wav"
        case .mp4: "audio/mp4"
        case .quickTime: "video/quicktime"
        case .threeGPP: "audio/3gpp"
        case .webm: "audio/webm"
        case .matroska: "audio/x-matroska"
        case .ogg: "audio/ogg"
        case .flac: "audio/flac"
        case .aac: "audio/aac"
        case .amr: "audio/amr"
        case .amrWideband: "audio/amr-wb"
        case .aiff: "audio/aiff"
        case .caf: "audio/x-caf"
        }
    }

    /// The format of a stored recording.
    ///
    /// Nil for a text that is no format's ``mediaType``.
    public init?(mediaType: String) {
        guard let format = Self.allCases.first(where: { $0.mediaType == mediaType }) else { return nil }
        self = format
    }

    /// The name of ffmpeg's demuxer for this format, the argument of its option `-f`.
    ///
    /// ffmpeg and ffprobe are told the format that the server found, and do not guess one themselves.
    public var demuxer: String {
        switch self {
        case .mp3: "mp3"
        case .wav: "wav"
        // One demuxer of this name reads the whole family of ISO base media files.
        case .mp4, .quickTime, .threeGPP: "mov"
        case .webm, .matroska: "matroska"
        case .ogg: "ogg"
        case .flac: "flac"
        case .aac: "aac"
        case .amr, .amrWideband: "amr"
        case .aiff: "aiff"
        case .caf: "caf"
        }
    }
}

extension String {
    /// What follows the last dot of a file name, in lower case; nil without a dot.
    var fileExtension: String? {
        lastIndex(of: ".").map { self[index(after: $0)...].lowercased() }
    }
}
