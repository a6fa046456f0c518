import Domain
import Testing

@Suite("Formats of recordings") struct AudioFormatTests {
    @Test(
        "A name with an accepted extension is accepted, in any case",
        arguments: [
            "a.mp3", "a.MP3", "a.b.wav", ".wav", "a.m4a", "a.mp4", "a.MOV", "a.qta", "a.3gp", "a.webm", "a.mka",
            "a.ogg",
            "a.oga", "a.Opus", "a.flac", "a.exe.flac", "a.aac", "a.amr", "a.aiff", "a.aif", "a.caf",
        ])
    func acceptedNames(_ name: String) {
        #expect(AudioFormat.acceptsExtension(of: name))
        #expect(FileKind.refusal(ofName: name) == nil)
    }

    @Test(
        "A name with another extension, or none, is refused",
        arguments: [
            "", "mp3", "a", "a.", "a.mp3.exe", "a.mp3 ", "a.mp3\0", "a.aifc", "a.wma", "a.mp", "a.mp33", "a/mp3",
            "a.docx",
            "a.m4b", "a.wav\u{301}",
        ])
    func otherNames(_ name: String) throws {
        #expect(!AudioFormat.acceptsExtension(of: name))
        let kind = try #require(FileKind.refusal(ofName: name))
        #expect(kind.statement.hasSuffix("."))
        #expect(kind.advice.hasSuffix("."))
    }

    @Test(
        "The refusal of a name says what the file is and what to do",
        arguments: [
            ("brief.DOCX", "This is a Word document."), ("scan.pdf", "This is a PDF document."),
            ("voice.wma", "This is a Windows Media file (WMA)."), ("d.ds2", "This is a dictation (DSS or DS2)."),
            ("IMG_1.heic", "This is a picture"), ("memo.m4a.icloud", "placeholder of iCloud"),
            ("New Recording.composition", "In Voice Memos, choose Share"), ("a.m4b", "ends in .m4a"),
            ("a.mp3.crdownload", "unfinished download"), ("list.m3u8", "playlist"),
            ("recording", "no ending such as .m4a"),
            ("a.xyz", "names end in .xyz"), ("a.xyz", "Accepted are mp3, wav, m4a, mp4, mov, qta, 3gp, webm, mka, "),
        ])
    func words(_ name: String, _ words: String) throws {
        let sentences = try #require(FileKind.refusal(ofName: name)).sentences
        #expect(sentences.contains(words), "\(sentences)")
    }

    @Test("A format is known by its media type, and no two formats have the same one")
    func mediaTypes() {
        for format in AudioFormat.allCases { #expect(AudioFormat(mediaType: format.mediaType) == format) }
        #expect(AudioFormat(mediaType: "audio/mpegx") == nil)
        #expect(AudioFormat(mediaType: "") == nil)
    }

    @Test(
        "A declared type that may be that of a recording, or of anything, is passed over",
        arguments: [
            "audio/mpeg", "audio/x-wav", "audio/wav", "audio/x-m4a", "video/mp4", "audio/webm;codecs=opus",
            "video/webm",
            "audio/ogg; codecs=opus", "application/ogg", " AUDIO/FLAC ", "Application/Octet-Stream",
            "binary/octet-stream",
            "application/mp4", "audio/mp4a-latm", "audio/aacp", "audio/x-mp4", "audio/*", "*/*", "multipart/form-data",
            "", "audio", "audio/x-mpeg", "audio/mpg", "audio/x-mp3", "audio/x-opus+ogg", "audio/vorbis", "video/3gpp",
            "application/x-www-form-urlencoded", "application/zipx", "texts/plain", "text",
        ])
    func passedOver(_ type: String) {
        #expect(!DeclaredType.isCertainlyNoRecording(type))
        #expect(DeclaredType.refusal(type) == nil)
    }

    @Test(
        "A declared type that is certainly not that of a recording is refused",
        arguments: [
            "text/html", "text/plain; charset=utf-8", " TEXT/HTML ", "text/html; audio/flac", "image/png",
            "image/svg+xml", "font/woff2", "model/gltf+json", "message/rfc822", "application/pdf", "application/zip",
            "application/json", "application/xml", "application/msword", "Application/vnd.ms-excel",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ])
    func refused(_ type: String) throws {
        #expect(DeclaredType.isCertainlyNoRecording(type))
        #expect(try #require(DeclaredType.refusal(type)).sentences.contains("no recording"))
    }
}
