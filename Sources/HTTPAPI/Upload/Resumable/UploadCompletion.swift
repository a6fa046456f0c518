import Domain
import Foundation
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

    private var route: ResumableUploadRoutes { patch.route }
    private var recordings: RecordingStore { route.form.recordings }
    private var folder: String { upload.id.description }

    /// Attaches a part that is the whole recording.
    ///
    /// - Returns: The complete upload.
    func publish(_ part: RecordingPart, sha256: [UInt8], format: AudioFormat) async throws -> ResumableUpload {
        try await expect(part.name)
        try await recordings.publish(part, of: folder, as: part.name)
        return try await attach(StoredRecording(bytes: part.byteCount, sha256: sha256, format: format), part.name)
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
        try await expect(file.name)
        try await recordings.move(file, of: folder, to: file.name)
        return try await attach(
            StoredRecording(bytes: file.byteCount, sha256: try await whole.digest(), format: format), file.name)
    }

    /// Names the file in the database before it is among the recordings.
    private func expect(_ key: String) async throws {
        let recording = ExpectedRecording(upload: upload.id.rawValue, key: key)
        guard try await route.uploads.expect(recording, of: upload.session, as: patch.principal) else {
            throw await patch.loss()
        }
    }

    private func attach(_ stored: StoredRecording, _ key: String) async throws -> ResumableUpload {
        var pauses = UploadReception.pauses[...]
        while true {
            do {
                let isComplete = try await route.uploads.complete(
                    upload.id, by: patch.writer, lifetime: route.settings.resumeLifetime, with: stored,
                    of: upload.session,
                    as: patch.principal)
                guard isComplete else { throw await patch.loss() }
                return try await complete(key)
            } catch let error as PostgresError {
                // The connection may have broken during the commit. This query waits for the lock of that commit.
                // Unstructured: the present task may be cancelled.
                let recording = ExpectedRecording(upload: upload.id.rawValue, key: key)
                let isEntered = await Task {
                    try? await route.form.sessions.hasEntered(recording, into: upload.session)
                }.value
                if isEntered == true { return try await complete(key) }
                guard error.isTransient, !Task.isCancelled, let pause = pauses.popFirst() else { throw error }
                try? await route.form.clock.sleep(for: pause)
            }
        }
    }

    private func complete(_ key: String) async throws -> ResumableUpload {
        guard let reading = try await route.uploads.upload(upload.id, as: patch.principal) else {
            throw await patch.loss()
        }
        return reading.upload
    }
}
