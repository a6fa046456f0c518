import Logging
import Recordings
import ServiceLifecycle
import Store

/// Clears up after uploads whose server died: the session would say `uploading` for ever, and the half of a file would
/// stay.
struct UploadJanitor: Service {
    /// How often it looks.
    private static let interval = Duration.seconds(600)
    /// How long an upload may show no progress before it counts as dead. One per cent of the largest recording takes four
    /// minutes over a line of 1 Mbit/s.
    private static let patience = Duration.seconds(1800)

    let progress: ProgressStore
    let recordings: RecordingStore
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                await clearUp()
                try? await Task.sleep(for: Self.interval)
            }
        }
    }

    private func clearUp() async {
        do {
            let sessions = try await progress.failAbandonedUploads(olderThan: Self.patience)
            let files = try await recordings.removeAbandoned()
            if sessions + files > 0 {
                logger.notice(
                    "cleared up after broken uploads", metadata: ["sessions": "\(sessions)", "files": "\(files)"])
            }
        } catch {
            logger.warning("cannot clear up after broken uploads", metadata: ["error": "\(error)"])
        }
    }
}
