/// What the name of a file says about it, before the first byte is there.
extension FileKind {
    /// Why a file cannot be uploaded under its name; nil if the name has an accepted extension.
    public static func refusal(ofName name: String) -> FileKind? {
        guard !AudioFormat.acceptsExtension(of: name) else { return nil }
        guard let dot = name.fileExtension, !dot.isEmpty else {
            return FileKind(
                statement: "The name of the file has no ending such as .m4a.",
                "Add the one of its format. \(accepted)")
        }
        if let kind = extensions.first(where: { $0.names.contains(dot) })?.kind { return kind }
        if let other = renamings.first(where: { $0.names.contains(dot) })?.to {
            return FileKind(
                statement: "The server does not accept names that end in .\(dot).",
                "Rename the file, so that its name ends in .\(other), and upload it again.")
        }
        let shown = String(dot.unicodeScalars.prefix(20).map(Character.init))
        return FileKind(statement: "The server does not know files whose names end in .\(shown).", accepted)
    }

    /// The sentence that lists the accepted extensions.
    public static let accepted =
        "Accepted are \(AudioFormat.acceptedExtensions.dropLast().joined(separator: ", "))"
        + " and \(AudioFormat.acceptedExtensions.last ?? "")."

    private static let extensions: [(names: Set<String>, kind: FileKind)] = [
        (["doc", "docx", "docm", "dot", "dotx"], .word), (["xls", "xlsx", "xlsm"], .excel),
        (["ppt", "pptx", "pps", "ppsx"], .powerPoint), (["odt", "ods", "odp"], .openDocument),
        (["pages", "numbers", "key"], .iWork), (["pdf"], .pdf), (["rtf"], .rtf), (["epub", "mobi"], .book),
        (["txt", "md", "log"], .text), (["srt", "vtt", "sbv", "lrc"], .subtitles),
        (["csv", "json", "xml", "plist", "yaml", "dat", "bin"], .data), (["eml", "msg", "mbox"], .mail),
        (["htm", "html", "xhtml", "mhtml", "php", "aspx"], .page), (["m3u", "m3u8", "pls", "cue", "xspf"], .playlist),
        (["lnk", "url", "webloc", "desktop"], .shortcut), (["icloud"], .placeholder),
        (["crdownload", "part", "partial", "download", "tmp"], .download),
        (["jpg", "jpeg", "png", "gif", "webp", "bmp", "tif", "tiff", "svg", "psd", "dng"], .picture),
        (["heic", "heif", "avif"], .photo),
        (["avi", "wmv", "flv", "mpg", "mpeg", "m2ts", "mts", "ts", "vob", "rm", "rmvb", "asf", "ogm"], .video),
        (["zip"], .zip), (["rar", "7z", "gz", "tgz", "tar", "bz2", "xz", "zst"], .archive),
        (["exe", "msi", "dmg", "pkg", "apk", "jar", "app", "dll", "iso"], .program),
        (["sh", "bat", "cmd", "ps1", "js", "vbs", "py"], .script), (["db", "sqlite", "mdb", "accdb"], .database),
        (["ttf", "otf", "woff", "woff2"], .font), (["wma"], .windowsMedia), (["dss", "ds2"], .dictation),
        (["aa", "aax"], .audible), (["m4p"], .protectedSound), (["mid", "midi", "kar"], .midi),
        (["mp2", "mp1", "m2a", "mpa"], .layerTwo), (["silk", "slk"], .chatVoice), (["w64"], .sound("Wave64")),
        (["au", "snd"], .sound("the format of Sun (AU)")), (["ra"], .sound("RealAudio")),
        (["ape"], .sound("Monkey's Audio")), (["wv"], .sound("WavPack")), (["tta"], .sound("True Audio")),
        (["mpc"], .sound("Musepack")), (["dsf", "dff"], .sound("DSD")), (["voc"], .sound("the format of Creative")),
        (["ac3", "eac3"], .sound("Dolby Digital (AC-3)")), (["dts"], .sound("DTS")), (["gsm"], .sound("GSM")),
        (["band", "aup", "aup3", "logicx", "sesx", "ptx", "rpp", "als"], .project), (["composition"], .memo),
    ]

    /// Other extensions of accepted formats.
    private static let renamings: [(names: Set<String>, to: String)] = [
        (["m4b", "m4r"], "m4a"), (["m4v", "f4v", "f4a"], "mp4"), (["qt"], "mov"), (["3gpp", "3g2", "3ga"], "3gp"),
        (["mkv", "mk3d"], "mka"), (["weba"], "webm"), (["spx", "ogx", "ogv"], "ogg"), (["wave", "bwf", "rf64"], "wav"),
        (["mpga", "mpeg3", "mp3a"], "mp3"), (["adts"], "aac"), (["awb"], "amr"), (["aifc", "aiffc"], "aiff"),
        (["fla"], "flac"), (["caff"], "caf"),
    ]
}

/// The type that a client declares for a file.
///
/// Browsers, phones and programs declare many types for the same recording, and often none. A declared type therefore
/// only counts if it is certainly not that of a recording.
public enum DeclaredType {
    /// Whether a file of this declared type is certainly no recording.
    ///
    /// - Parameter text: The value of `Content-Type`; its parameters do not matter.
    /// - Returns: True for text, pictures, documents and archives; false for every other type, also a malformed one.
    public static func isCertainlyNoRecording(_ text: String) -> Bool {
        let essence = text.prefix { $0 != ";" }.lowercased().trimming { $0 == " " || $0 == "\t" }
        let parts = essence.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { return false }
        switch parts[0] {
        case "text", "image", "font", "model", "message": return true
        case "application":
            return ["pdf", "zip", "json", "xml", "msword"].contains(parts[1]) || parts[1].hasPrefix("vnd.")
        default: return false
        }
    }

    /// Why a file of this declared type cannot be uploaded; nil if the type says nothing against it.
    public static func refusal(_ text: String) -> FileKind? {
        guard isCertainlyNoRecording(text) else { return nil }
        let essence = String(text.prefix { $0 != ";" }).trimming { $0 == " " || $0 == "\t" }
        return FileKind(
            statement:
                "The program that sent the file declared it as \(String(essence.prefix(80)).shown), which is no recording.",
            FileAdvice.choose)
    }
}
