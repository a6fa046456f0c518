import FoundationEssentials
import Logging
import Recordings
import Store

/// Removes the files of recordings that no session needs any more.
struct RecordingRemover: Sendable {
    let sessions: SessionStore
    let recordings: RecordingStore

    /// Removes a file, also if the client of the request has gone.
    ///
    /// - Parameters:
    ///   - key: The key of the recording.
    ///   - upload: The upload that wrote the file, if that upload calls.
    ///   - level: The level of the line in the log if it fails.
    ///   - logger: The log of the request.
    /// - Returns: False if the file cannot be removed now. The janitor tries again.
    @discardableResult
    func remove(
        _ key: String, of upload: UUID? = nil, failingAt level: Logger.Level = .warning, _ logger: Logger
    ) async -> Bool {
        // Unstructured: the file system calls do nothing in a cancelled task.
        await Task {
            do {
                try await recordings.remove(key: key)
                try await sessions.noteRemoval(recording: key, of: upload)
                return true
            } catch {
                logger.log(level: level, "cannot remove a recording yet", metadata: ["error": "\(error)"])
                return false
            }
        }.value
    }
}
