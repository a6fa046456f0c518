import Domain
import FoundationEssentials
import Postgres
import Recordings
import Store

/// Makes the recording of a session from the parts of its upload, and attaches it.
///
/// The offset of an upload never reaches its length before the session has the recording. If the server dies here, the client
/// continues a few bytes before the end, at any server.
struct UploadCompletion: Sendable {
    let patch: UploadPatch
    let upload: ResumableUpload
    /// The files with all bytes, in their order.
    let parts: [RecordingPart]
    /// True if the database has just failed to answer.
    let isDatabaseAway: Bool

    private var route: ResumableUploadRoutes { patch.route }
    private var recordings: RecordingStore { route.form.recordings }
    private var folder: String { upload.id.description }

    /// Attaches a part that is the whole recording.
    ///
    /// - Returns: The complete upload.
    func publish(_ part: RecordingPart, sha256: [UInt8], format: AudioFormat) async throws -> ResumableUpload {
        try await attach(StoredRecording(bytes: part.byteCount, sha256: sha256, format: format), part.name) {
            try await recordings.publish(part, of: folder, as: part.name)
        }
    }

    /// Copies the parts into one file, checks the whole of it, and attaches it.
    ///
    /// - Returns: The complete upload.
    /// - Throws: 415 if the whole file is no recording; ``RecordingError`` if a part is damaged; `FileSystemError`.
    func assemble() async throws -> ResumableUpload {
        var whole = try await recordings.beginPart(of: folder, stem: UUID().uuidString.lowercased())
        var check = RecordingCheck()
        let format: AudioFormat
        do {
            for part in parts {
                try await recordings.read(part, of: folder) { bytes in
                    try check.take(bytes)
                    try await whole.write(bytes)
                }
            }
            format = try check.finish()
        } catch {
            await whole.discard()
            throw error
        }
        let file = try await whole.finish()
        let stored = StoredRecording(bytes: file.byteCount, sha256: try await whole.digest(), format: format)
        return try await attach(stored, file.name) {
            try await recordings.move(file, of: folder, to: file.name)
        }
    }

    /// Puts the file in its place, and attaches it.
    ///
    /// Something names the file before it is among the recordings: the database or, while that does not answer, a receipt.
    private func attach(
        _ stored: StoredRecording, _ key: String, _ place: @escaping @Sendable () async throws -> Void
    ) async throws -> ResumableUpload {
        let recording = ExpectedRecording(upload: upload.id.rawValue, key: key)
        let receipt = RecordingReceipt(
            stored, from: recording, into: upload.session, as: patch.principal, writer: patch.writer)
        do {
            if isDatabaseAway {
                try await route.form.entries.keep(receipt)
            } else if try await !route.uploads.expect(recording, of: upload.session, as: patch.principal) {
                throw await patch.loss()
            }
        } catch let error as PostgresError where error.isTransient || error.code == .cancelled {
            try await route.form.entries.keep(receipt)
        }
        // Unstructured: the file system calls do nothing in a cancelled task, and the receipt counts when the client goes now.
        try await Task { try await place() }.value
        guard try await route.form.entries.enter(receipt) else { throw await patch.loss() }
        return try await complete(key)
    }

    private func complete(_ key: String) async throws -> ResumableUpload {
        guard let reading = try await route.uploads.upload(upload.id, as: patch.principal) else {
            throw await patch.loss()
        }
        return reading.upload
    }
}
