import FoundationEssentials

/// The audio tracks of a recording, and the length that its headers announce.
struct RecordingOutline: Sendable, Equatable {
    /// The audio tracks that can be decoded, in the order of the file.
    var tracks: [AudioTrack]
    /// The seconds of audio that the headers announce, or nil if they announce none.
    var announced: Double?
}

/// An audio track of a recording.
struct AudioTrack: Sendable, Equatable {
    /// The number of the track among the audio tracks of the file, from 0.
    var ordinal: Int
    /// When the track begins, in seconds from the beginning of the first track.
    var start = 0.0
    /// When the track ends by its own header, in seconds from the beginning of the first track; nil if no header says it.
    var announcedEnd: Double?
}

extension RecordingOutline {
    /// Reads the answer of ffprobe, and checks it against ``AudioLimits``.
    ///
    /// A track whose codec the limits do not have is left out when another one can be decoded: new telephones add a
    /// track of spatial sound to the one that every program understands.
    ///
    /// - Parameters:
    ///   - answer: The JSON of ffprobe.
    ///   - header: What the file's own header says.
    /// - Throws: ``TranscriberError``: ``TranscriberError/unreadable(detail:)`` without an audio track; the limit that
    ///   the recording exceeds.
    init(answer: String, header: RecordingHeader) throws(TranscriberError) {
        guard let report = try? JSONDecoder().decode(Report.self, from: Data(answer.utf8)) else {
            throw .unreadable(detail: "ffprobe gave no answer")
        }
        let audio = report.streams?.filter { $0.codec_type == "audio" } ?? []
        guard !audio.isEmpty else { throw .unreadable(detail: "ffprobe found no audio") }
        guard audio.count <= AudioLimits.tracks else { throw .tooManyTracks(audio.count) }
        let known = audio.indices.filter { AudioLimits.codecs.contains(audio[$0].codec_name ?? "") }
        guard !known.isEmpty else { throw .unknownCodec(audio[0].codec_name ?? "unknown") }
        for index in known {
            guard audio[index].channels ?? 0 <= AudioLimits.channels else {
                throw .tooManyChannels(audio[index].channels ?? 0)
            }
            // ffprobe prints 0 where only the first frame would tell.
            let rate = audio[index].sample_rate.flatMap { Int($0) } ?? 0
            for rate in [rate, header.sampleRate ?? 0] where rate != 0 {
                guard AudioLimits.sampleRates.contains(rate) else { throw .badSampleRate(rate) }
            }
        }
        let beginning = Report.beginning(of: known.map { audio[$0] })
        tracks = known.map { ordinal in
            let end = audio[ordinal].end.map { $0 - beginning }
            return AudioTrack(ordinal: ordinal, announcedEnd: end.flatMap { AudioLimits.canAnnounce($0) ? $0 : nil })
        }
        guard !header.isLengthWrong, let seconds = header.announced ?? report.announced(of: known.map { audio[$0] })
        else { return }
        if AudioLimits.canAnnounce(seconds) { announced = seconds }
    }

    /// What ffprobe prints.
    private struct Report: Decodable {
        struct Stream: Decodable {
            struct Tags: Decodable { var DURATION: String? }
            struct Disposition: Decodable { var attached_pic: Int? }
            var codec_type: String?
            var codec_name: String?
            var sample_rate: String?
            var channels: Int?
            var start_time: String?
            var duration: String?
            var tags: Tags?
            var disposition: Disposition?

            /// When the track ends, in seconds; nil if its header does not say it.
            var end: Double? {
                if let seconds = duration.flatMap(Double.init) {
                    return seconds + max(start_time.flatMap(Double.init) ?? 0, 0)
                }
                // Matroska has the length of a track in a tag: 00:00:03.008000000.
                let parts = tags?.DURATION?.split(separator: ":").map { Double($0) } ?? []
                guard parts.count == 3, let hours = parts[0], let minutes = parts[1], let seconds = parts[2] else {
                    return nil
                }
                return hours * 3_600 + minutes * 60 + seconds
            }

            /// True for a film, false for the cover of an album.
            var isFilm: Bool { codec_type == "video" && disposition?.attached_pic != 1 }
        }
        struct Format: Decodable { var duration: String? }
        var streams: [Stream]?
        var format: Format?

        /// The announced length of the tracks, from the beginning of the first one.
        func announced(of audio: [Stream]) -> Double? {
            let ends = audio.compactMap(\.end)
            let seconds: Double?
            if ends.count == audio.count {
                seconds = ends.max().map { $0 - Self.beginning(of: audio) }
            } else if streams?.contains(where: \.isFilm) == false {
                seconds = format?.duration.flatMap(Double.init)
            } else {
                // The length of the file may be that of its film.
                seconds = nil
            }
            return seconds
        }

        /// When the first of the tracks begins, in seconds from the beginning of the file.
        static func beginning(of audio: [Stream]) -> Double {
            max(audio.map { $0.start_time.flatMap(Double.init) ?? 0 }.min() ?? 0, 0)
        }
    }
}
