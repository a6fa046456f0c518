import FoundationEssentials

/// The programs and the model of the transcriber, by the names of the Debian packages.
public struct SpeechPrograms: Sendable {
    /// The program that decodes recordings.
    public var ffmpeg = "ffmpeg"
    /// The program that measures recordings.
    public var ffprobe = "ffprobe"
    /// The program that recognises speech.
    ///
    /// It reads one file name a line from standard input.
    public var recogniser = "pocketsphinx_batch"
    /// The folder with the acoustic model `en-us/`, the language model and the dictionary.
    public var model = "/usr/share/pocketsphinx/model/en-us"

    /// Uses the programs of Debian's packages, looked up in `PATH`.
    public init() {}

    /// Checks that all programs and the model are installed, before an hour of audio is decoded in vain.
    ///
    /// - Throws: ``TranscriberError/notInstalled(what:package:)`` for the first that is missing;
    ///   ``TranscriberError/noStandardInput``.
    func check() throws(TranscriberError) {
        for program in [ffmpeg, ffprobe] where !Self.isInPath(program) {
            throw .notInstalled(what: program, package: "ffmpeg")
        }
        guard Self.isInPath(recogniser) else { throw .notInstalled(what: recogniser, package: "pocketsphinx") }
        guard FileManager.default.fileExists(atPath: model + "/en-us/mdef") else {
            throw .notInstalled(what: "The English speech model", package: "pocketsphinx-en-us")
        }
        guard FileManager.default.fileExists(atPath: "/dev/stdin") else { throw .noStandardInput }
    }

    private static func isInPath(_ program: String) -> Bool {
        if program.contains("/") { return FileManager.default.isExecutableFile(atPath: program) }
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        return path.split(separator: ":").contains { FileManager.default.isExecutableFile(atPath: "\($0)/\(program)") }
    }
}
