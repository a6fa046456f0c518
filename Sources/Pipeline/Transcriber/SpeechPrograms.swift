import Foundation

/// The programs and the model that the transcriber stands on, as Debian installs them.
public struct SpeechPrograms: Sendable {
    /// Decodes recordings.
    public var ffmpeg = "ffmpeg"
    /// Measures recordings.
    public var ffprobe = "ffprobe"
    /// Recognises speech, one file a line of standard input.
    public var recogniser = "pocketsphinx_batch"
    /// Holds the acoustic model `en-us/`, the language model and the dictionary.
    public var model = "/usr/share/pocketsphinx/model/en-us"

    /// The programs of Debian's packages, looked up in `PATH`.
    public init() {}

    /// Looks whether everything is there, before an hour of audio is decoded for nothing.
    ///
    /// - Throws: ``TranscriberError/notInstalled(what:package:)`` for the first that is missing.
    func check() throws(TranscriberError) {
        for program in [ffmpeg, ffprobe] where !Self.isInPath(program) {
            throw .notInstalled(what: program, package: "ffmpeg")
        }
        guard Self.isInPath(recogniser) else { throw .notInstalled(what: recogniser, package: "pocketsphinx") }
        guard FileManager.default.fileExists(atPath: model + "/en-us/mdef") else {
            throw .notInstalled(what: "The English speech model", package: "pocketsphinx-en-us")
        }
    }

    private static func isInPath(_ program: String) -> Bool {
        if program.contains("/") { return FileManager.default.isExecutableFile(atPath: program) }
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        return path.split(separator: ":").contains { FileManager.default.isExecutableFile(atPath: "\($0)/\(program)") }
    }
}
