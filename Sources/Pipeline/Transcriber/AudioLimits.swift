/// What the programs of the transcriber accept of a recording.
///
/// Real recordings stay far below these limits. A file that was made to cost memory or hours does not.
enum AudioLimits {
    /// The greatest number of audio tracks.
    static let tracks = 16
    /// The greatest number of channels of a track.
    ///
    /// It is the limit of ffmpeg's resampler (`SWR_CH_MAX`).
    static let channels = 64
    /// The greatest number of streams in a file, pictures and subtitles included.
    static let streams = 64
    /// The sample rates in samples a second.
    ///
    /// Telephones have 8,000. One second of a recording with 1 sample a second would become 16,000 samples.
    static let sampleRates = 4_000...768_000
    /// The longest length that a header can announce, in seconds.
    ///
    /// A broken header can announce anything, and the database stores no more.
    static let longestAnnounced = 1e9
    /// True for a length in seconds that a header can announce.
    static func canAnnounce(_ seconds: Double) -> Bool { seconds > 0 && seconds <= longestAnnounced }
    /// How many bytes ffmpeg reads to find out about the streams.
    static let probeBytes = 5_000_000

    /// The names of the codecs that the accepted formats have, as ffprobe prints them.
    static let codecs: Set<String> = [
        "aac", "adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "alac", "amr_nb", "amr_wb", "flac", "gsm", "gsm_ms", "mp1",
        "mp2", "mp3", "opus", "pcm_alaw", "pcm_f32be", "pcm_f32le", "pcm_f64be", "pcm_f64le", "pcm_mulaw", "pcm_s16be",
        "pcm_s16le", "pcm_s24be", "pcm_s24le", "pcm_s32be", "pcm_s32le", "pcm_s8", "pcm_u8", "speex", "vorbis",
    ]

    /// The names of ffmpeg's decoders for ``codecs``.
    ///
    /// A codec can have several decoders, and some decoders have another name than their codec.
    static let decoders =
        codecs.subtracting(["amr_nb", "amr_wb"]).sorted() + [
            "amrnb", "amrwb", "libopus", "libspeex", "libvorbis", "mp1float", "mp2float", "mp3float",
        ]
}
