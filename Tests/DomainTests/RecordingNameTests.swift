import Domain
import Testing

@Suite("Names of recordings") struct RecordingNameTests {
    @Test(
        "A name is shown without folders, without blanks at its ends, and in one line",
        arguments: [
            ("a.mp3", "a.mp3"), ("C:\\Users\\ada\\Sitzung 1.m4a", "Sitzung 1.m4a"), ("../../etc/a.wav", "a.wav"),
            ("\\\\server\\share\\a.wav", "a.wav"), ("a.mp3 ", "a.mp3"), (" \t a.mp3 \u{A0}", "a.mp3"),
            ("a\u{7}b\u{1B}.wav", "ab.wav"), ("\u{202E}3pm.exe\u{202C}.wav", "3pm.exe.wav"), ("/", ""), ("  ", ""),
            ("", ""),
            ("Größe – 3.wav", "Größe – 3.wav"), ("50% off.mp3", "50% off.mp3"),
        ])
    func shown(_ name: String, _ shown: String) {
        #expect(RecordingName.shown(name) == shown)
    }

    @Test("A long name keeps its end, which has the extension")
    func long() {
        let name = RecordingName.shown(String(repeating: "x", count: 1000) + ".wav")
        #expect(name.unicodeScalars.count == RecordingName.limit)
        #expect(name.hasSuffix("x.wav"))
        #expect(RecordingName.shown("a" + String(repeating: " ", count: 400) + ".wav") == ".wav")
    }

    @Test(
        "Encoded names are decoded",
        arguments: [
            ("=?utf-8?B?U2l0enVuZ19Nw7xsbGVyLm1wMw==?=", "Sitzung_Müller.mp3"),
            ("=?UTF-8?Q?Sitzung_M=C3=BCller=2Emp3?=", "Sitzung Müller.mp3"),
            ("=?iso-8859-1?q?M=FCller.mp3?=", "Müller.mp3"), ("=?windows-1252?Q?=80.mp3?=", "€.mp3"),
            ("=?utf-8?B?U2l0enVuZ18=?= =?utf-8?B?TcO8bGxlci5tcDM=?=", "Sitzung_Müller.mp3"),
            ("=?utf-8*de?Q?a?=.mp3", "a.mp3"), ("x =?utf-8?Q?y?= z.mp3", "x y z.mp3"),
            ("Sitzung%20M%C3%BCller.mp3", "Sitzung Müller.mp3"), ("a%22b.wav", "a\"b.wav"), ("a%2Emp3", "a.mp3"),
            // Not encoded, or not well.
            ("50%.mp3", "50%.mp3"), ("100% of 20%20.mp3", "100% of 20%20.mp3"), ("%FF.mp3", "%FF.mp3"),
            ("=?utf-8?B?***?=.mp3", "=?utf-8?B?***?=.mp3"), ("=?koi8-r?B?AAAA?=.mp3", "=?koi8-r?B?AAAA?=.mp3"),
            ("=?utf-8?Q?=C3?=.mp3", "=?utf-8?Q?=C3?=.mp3"), ("=?utf-8?B?", "=?utf-8?B?"), ("plain.mp3", "plain.mp3"),
        ])
    func decoded(_ name: String, _ decoded: String) {
        #expect(RecordingName.decoded(name) == decoded)
    }

    @Test(
        "A download has an extension of the format that the recording has",
        arguments: [
            ("a.mp3", AudioFormat.mp3, "a.mp3"), ("a.MP3", .mp3, "a.MP3"), ("mp4_named.mp3", .mp4, "mp4_named.m4a"),
            ("a.m4a", .wav, "a.wav"), ("memo.qta", .quickTime, "memo.qta"), ("a.mp4", .mp4, "a.mp4"),
            ("a.3gp", .threeGPP, "a.3gp"), ("a.opus", .ogg, "a.opus"), ("a.webm", .matroska, "a.mka"),
            ("a", .flac, "a.flac"),
            ("v1.2", .flac, "v1.2.flac"), (".mp3", .wav, "recording.wav"), ("", .caf, "recording.caf"),
        ])
    func download(_ name: String, _ format: AudioFormat, _ download: String) {
        #expect(RecordingName.forDownload(name, format: format) == download)
        #expect(RecordingName.forDownload(nil, format: format) == "recording.\(format.extensions[0])")
        #expect(RecordingName.forDownload("a.xyz", format: nil) == "a.xyz")
    }
}
