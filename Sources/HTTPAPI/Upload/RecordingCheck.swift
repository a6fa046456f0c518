import Domain
import NIOCore

/// Checks an arriving file: whether it is a recording, and nothing else besides.
struct RecordingCheck {
    private var recognizer = FormatRecognizer()
    private var polyglots = PolyglotDetector()

    /// The format of the recording; nil while its bytes do not show it.
    var format: AudioFormat? {
        if case .recording(let format)? = recognizer.finding { format } else { nil }
    }

    /// Takes the next bytes.
    ///
    /// - Parameter bytes: The next bytes of the file.
    /// - Throws: 415 if the bytes are no recording, or are also another kind of file.
    mutating func take(_ bytes: ByteBuffer) throws(Problem) {
        if recognizer.finding == nil { try judge(recognizer.take(bytes.readableBytesView)) }
        try refuse(polyglots.take(bytes))
    }

    /// Ends the file.
    ///
    /// - Returns: The format.
    /// - Throws: 415 if there were too few bytes, or they are also another kind of file.
    mutating func finish() throws(Problem) -> AudioFormat {
        let finding = recognizer.finish()
        try judge(finding)
        try refuse(polyglots.finish())
        guard case .recording(let format) = finding else { throw Problem(.unknown) }
        return format
    }

    private func judge(_ finding: FormatRecognizer.Finding?) throws(Problem) {
        if case .other(let kind)? = finding { throw Problem(kind) }
    }

    private func refuse(_ kind: FileKind?) throws(Problem) {
        guard let kind else { return }
        // Without the format of a recording, the file is nothing but this.
        if format == nil { throw Problem(kind) }
        throw Problem(
            .unsupportedMedia, "The file is also \(kind.name ?? "another kind of file"). Send the recording alone."
        ).closing()
    }
}

extension Problem {
    /// The refusal of a file that is no recording.
    init(_ kind: FileKind) { self = Problem(.unsupportedMedia, kind.sentences).closing() }
}
