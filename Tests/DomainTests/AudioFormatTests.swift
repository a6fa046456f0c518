import Domain
import Testing

@Suite struct AudioFormatTests {
    @Test(
        "A format has its extensions, in any case",
        arguments: [
            ("a.mp3", AudioFormat.mp3), ("a.MP3", .mp3), ("a.b.wav", .wav), (".wav", .wav), ("a.m4a", .mp4),
            ("a.mp4", .mp4),
            ("a.webm", .webm), ("a.ogg", .ogg), ("a.oga", .ogg), ("a.Opus", .ogg), ("a.flac", .flac),
            ("a.exe.flac", .flac),
        ])
    func fileExtension(_ name: String, _ format: AudioFormat) {
        #expect(AudioFormat(filename: name) == format)
    }

    @Test(
        "Another extension has no format",
        arguments: [
            "", "mp3", "a", "a.", "a.mp3.exe", "a.mp3 ", "a.mp3\0", "a.aiff", "a.wma", "a.mp", "a.mp33", "a/mp3",
        ])
    func otherExtensions(_ name: String) {
        #expect(AudioFormat(filename: name) == nil)
    }

    @Test(
        "A format accepts the media types that clients declare",
        arguments: [
            (AudioFormat.mp3, "audio/mpeg"), (.wav, "audio/x-wav"), (.wav, "audio/wav"), (.mp4, "audio/x-m4a"),
            (.mp4, "video/mp4"), (.webm, "audio/webm;codecs=opus"), (.webm, "video/webm"),
            (.ogg, "audio/ogg; codecs=opus"),
            (.ogg, "application/ogg"), (.flac, "audio/x-flac"), (.flac, " AUDIO/FLAC "),
            (.mp3, "application/octet-stream"),
            (.wav, "Application/Octet-Stream"),
        ])
    func accepts(_ format: AudioFormat, _ type: String) {
        #expect(format.accepts(mediaType: type))
    }

    @Test(
        "A format refuses the media types of others",
        arguments: [
            (AudioFormat.mp3, "audio/wav"), (.mp3, ""), (.mp3, "audio"), (.mp3, "audio/*"), (.mp3, "*/*"),
            (.mp3, "text/html"), (.mp3, "audio/mpegx"), (.webm, "audio/ogg"), (.ogg, "image/svg+xml"),
            (.flac, "text/html; audio/flac"),
        ])
    func refuses(_ format: AudioFormat, _ type: String) {
        #expect(!format.accepts(mediaType: type))
    }

    static let signatures: [([UInt8], AudioFormat)] = [
        (bytes("RIFF\0\0\0\0WAVE"), .wav),
        (bytes("OggS\0\u{2}\0\0\0\0\0\0"), .ogg),
        (bytes("fLaC\0\0\0\u{22}\0\0\0\0"), .flac),
        (bytes("\0\0\0\u{18}ftypM4A "), .mp4),
        (bytes("\0\0\0\u{20}ftypisom"), .mp4),
        ([0x1A, 0x45, 0xDF, 0xA3, 0x9F, 0x42, 0x86, 0x81, 0x01, 0x42, 0xF7, 0x81], .webm),
        (bytes("ID3\u{4}\0\0\0\0\0\0\0\0"), .mp3),
        // MPEG-1 layer III, MPEG-2 layer III, MPEG-2.5 layer III.
        ([0xFF, 0xFB, 0x90, 0x64] + zeros, .mp3),
        ([0xFF, 0xF3, 0x90, 0x64] + zeros, .mp3),
        ([0xFF, 0xE3, 0x90, 0x64] + zeros, .mp3),
    ]

    static let others: [[UInt8]] = [
        [], zeros, bytes("RIFF\0\0\0\0WAV"), bytes("RIFF\0\0\0\0AVI "), bytes("riff\0\0\0\0WAVE"),
        bytes("OggT\0\0\0\0\0\0\0\0"),
        bytes("\0\0\0\u{18}ftypheic"), bytes("\0\0\0\u{18}ftypavif"), bytes("\0\0\0\u{18}ftypmif1"),
        bytes("ftyp\0\0\0\0M4A "), bytes("<!DOCTYPE html><html>"), bytes("MZ\0\0\0\0\0\0\0\0\0\0"),
        bytes("%PDF-1.7\n\0\0\0\0"),
        bytes("PK\u{3}\u{4}\0\0\0\0\0\0\0\0"), [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 0, 0, 0, 0],
        // A sync word with a reserved version, layer II, layer reserved, a bad bit rate, a reserved sample rate.
        [0xFF, 0xEB, 0x90, 0x64] + zeros, [0xFF, 0xFD, 0x90, 0x64] + zeros, [0xFF, 0xF9, 0x90, 0x64] + zeros,
        [0xFF, 0xFB, 0xF0, 0x64] + zeros, [0xFF, 0xFB, 0x9C, 0x64] + zeros,
        // A byte-order mark of UTF-16, and JPEG.
        [0xFF, 0xFE, 0x3C, 0x00] + zeros, [0xFF, 0xD8, 0xFF, 0xE0] + zeros,
    ]

    private static let zeros = [UInt8](repeating: 0, count: 8)
    private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test("The leading bytes tell the format", arguments: signatures)
    func leadingBytes(_ bytes: [UInt8], _ format: AudioFormat) {
        #expect(bytes.count == AudioFormat.leadingByteCount)
        #expect(AudioFormat(leadingBytes: bytes) == format)
        #expect(AudioFormat(leadingBytes: bytes + [1, 2, 3]) == format)
    }

    @Test("Too few leading bytes tell no format", arguments: signatures)
    func tooFewBytes(_ bytes: [UInt8], _ format: AudioFormat) {
        #expect(AudioFormat(leadingBytes: bytes.dropLast()) == nil)
    }

    @Test("The leading bytes of other files tell no format", arguments: others)
    func otherBytes(_ bytes: [UInt8]) {
        #expect(AudioFormat(leadingBytes: bytes) == nil)
    }
}
