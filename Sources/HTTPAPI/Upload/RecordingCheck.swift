import Domain
import NIOCore

/// Holds a file, while it comes, against the format that its name and its declared type say.
struct RecordingCheck {
    let format: AudioFormat
    private var beginning = ByteBuffer()
    private var isFormatShown = false
    private var polyglots = PolyglotDetector()

    init(_ format: AudioFormat) { self.format = format }

    /// Takes in the next bytes.
    ///
    /// - Returns: What may be stored now; nil as long as there is too little to tell.
    /// - Throws: 415 when they are not of that format, or of another kind as well.
    mutating func take(_ bytes: ByteBuffer) throws(Problem) -> ByteBuffer? {
        try refuse(polyglots.take(bytes))
        if isFormatShown { return bytes }
        beginning.writeImmutableBuffer(bytes)
        guard beginning.readableBytes >= AudioFormat.leadingByteCount else { return nil }
        guard
            AudioFormat(leadingBytes: Array(beginning.readableBytesView.prefix(AudioFormat.leadingByteCount))) == format
        else { throw Problem(.unsupportedMedia, "The file is not a .\(format.rawValue) recording inside.").closing() }
        isFormatShown = true
        defer { beginning = ByteBuffer() }
        return beginning
    }

    /// Says that no more bytes come.
    ///
    /// - Throws: 415 when they were too few, or are of another kind as well.
    mutating func finish() throws(Problem) {
        guard isFormatShown else {
            throw Problem(.unsupportedMedia, "The file is too short to be a recording.").closing()
        }
        try refuse(polyglots.finish())
    }

    private func refuse(_ disguise: PolyglotDetector.Disguise?) throws(Problem) {
        guard let disguise else { return }
        throw Problem(
            .unsupportedMedia, "The file is \(disguise.rawValue) as well: send the recording by itself."
        ).closing()
    }
}
