import Domain
import FoundationEssentials
import SystemPackage

/// A recording from a stranger, as ffmpeg and ffprobe see it.
///
/// The programs get the demuxer that belongs to the bytes of the file, and do not guess one: a playlist or a concat
/// script with the name of an MP3 could otherwise make ffmpeg fetch URLs and read other files. They read the file by a
/// link without an extension, because the client chose the extension.
struct AudioInput: Sendable {
    /// The path that the programs open.
    let path: String
    /// The format by the bytes of the file.
    let format: AudioFormat
    /// What the file's own header says.
    let header: RecordingHeader

    /// Describes a file whose format is known.
    init(path: String, format: AudioFormat, header: RecordingHeader = RecordingHeader()) {
        self.path = path
        self.format = format
        self.header = header
    }

    /// Finds the format of a file, and makes a link to it.
    ///
    /// - Parameters:
    ///   - file: The path of the recording.
    ///   - directory: The folder of the link, which belongs to this process alone.
    /// - Throws: ``TranscriberError/unreadable(detail:)`` when the file cannot be opened or is no recording.
    init(file: String, linkedIn directory: String) throws(TranscriberError) {
        do {
            let target = FilePath(URL(filePath: file).path(percentEncoded: false))
            let descriptor = try FileDescriptor.open(target, .readOnly, options: [.closeOnExec])
            defer { try? descriptor.close() }
            format = try Self.format(of: descriptor)
            header = try RecordingHeader(of: descriptor, format: format)
            path = "\(directory)/recording"
            try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: target.string)
        } catch let error as TranscriberError {
            throw error
        } catch {
            throw .unreadable(detail: "the recording cannot be opened: \(error)")
        }
    }

    private static func format(of file: FileDescriptor) throws -> AudioFormat {
        var recognizer = FormatRecognizer()
        var buffer = [UInt8](repeating: 0, count: 65_536)
        var isAtEnd = false
        while !isAtEnd, recognizer.finding == nil {
            let count = try buffer.withUnsafeMutableBytes { try file.read(into: $0) }
            recognizer.take(buffer[..<count])
            isAtEnd = count == 0
        }
        switch recognizer.finish() {
        case .recording(let format): return format
        case .other(let kind): throw TranscriberError.unreadable(detail: "no recording, but: \(kind)")
        }
    }

    /// The path as a URL of the `file` protocol, in which a colon or a leading hyphen has no meaning.
    var url: String { "file:" + path }

    /// The options before the input, for ffmpeg and ffprobe.
    ///
    /// Source: FFmpeg Formats Documentation, `format_whitelist` and `max_streams`; Protocols, `protocol_whitelist`.
    var options: [String] {
        ["-protocol_whitelist", "file,pipe", "-f", format.demuxer, "-format_whitelist", format.demuxer]
            + ["-max_streams", "\(AudioLimits.streams)", "-probesize", "\(AudioLimits.probeBytes)"]
            + (header.isLengthWrong ? ["-ignore_length", "1"] : [])
    }

    /// The options before the input, for ffmpeg, which also decodes.
    var decodingOptions: [String] {
        ["-filter_threads", "1", "-threads", "1"] + options + [
            "-codec_whitelist", AudioLimits.decoders.joined(separator: ","),
        ]
    }
}
