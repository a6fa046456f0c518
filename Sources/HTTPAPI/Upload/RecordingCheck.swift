import Domain
import NIOCore

/// Checks an arriving file against the format of its name and its declared type.
struct RecordingCheck {
    let format: AudioFormat
    private var beginning = ByteBuffer()
    private var isFormatShown = false
    private var polyglots = PolyglotDetector()

    init(_ format: AudioFormat) { self.format = format }

    /// Takes the next bytes.
    ///
    /// - Parameter bytes: The next bytes of the file.
    /// - Returns: The bytes that may now be stored; nil while there are too few to decide.
    /// - Throws: 415 if the bytes are not of the format, or are also another kind of file.
    mutating func take(_ bytes: ByteBuffer) throws(Problem) -> ByteBuffer? {
        try refuse(polyglots.take(bytes))
        if isFormatShown { return bytes }
        beginning.writeImmutableBuffer(bytes)
        guard beginning.readableBytes >= AudioFormat.leadingByteCount else { return nil }
        guard
            AudioFormat(leadingBytes: Array(beginning.readableBytesView.prefix(AudioFormat.leadingByteCount))) == format
        else {
            throw Problem(.unsupportedMedia, "The content of the file is not a .\(format.rawValue) recording.")
                .closing()
        }
        isFormatShown = true
        defer { beginning = ByteBuffer() }
        return beginning
    }

    /// Ends the file.
    ///
    /// - Throws: 415 if there were too few bytes, or they are also another kind of file.
    mutating func finish() throws(Problem) {
        guard isFormatShown else {
            throw Problem(.unsupportedMedia, "The file is too short to be a recording.").closing()
        }
        try refuse(polyglots.finish())
    }

    private func refuse(_ disguise: PolyglotDetector.Disguise?) throws(Problem) {
        guard let disguise else { return }
        throw Problem(
            .unsupportedMedia, "The file is also \(disguise.rawValue). Send the recording alone."
        ).closing()
    }
}
