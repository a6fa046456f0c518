import Logging
import Recordings
import ServiceLifecycle
import Store

/// Clears up what a server left that died: sessions that would say `uploading` for ever, halves of files, and the files of
/// deleted sessions.
///
/// And what is of no more use: tickets that nobody used, sign-ins that have long been over, attempts to sign in that have worn
/// off, what was uploaded before the last day, and whose the deleted sessions were.
struct Janitor: Service {
    /// How often it looks.
    private static let interval = Duration.seconds(600)
    /// How long an upload may show no progress before it counts as dead.
    ///
    /// One per cent of the largest recording takes four minutes over a line of 1 Mbit/s.
    private static let patience = Duration.seconds(1800)

    let progress: ProgressStore
    let sessions: SessionStore
    let signIns: SignInStore
    let tickets: TicketStore
    let attempts: AttemptStore
    let charges: UploadChargeStore
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

    /// How long a deletion is told to streams that come back; longer than any of them lives.
    private static let memory = Duration.seconds(86_400)

    /// How long a sign-in that is over is kept: for who looks into what was done under it.
    private static let signInMemory = Duration.seconds(30 * 86_400)

    /// Removes one file; one that cannot be removed does not keep the others.
    private func discard(_ key: String) async throws {
        do {
            try await recordings.remove(key: key)
        } catch {
            return logger.warning("a discarded recording cannot be removed", metadata: ["error": "\(error)"])
        }
        try await sessions.forgetDiscarded(recording: key)
    }

    private func clearUp() async {
        do {
            let uploads = try await progress.failAbandonedUploads(olderThan: Self.patience)
            let partial = try await recordings.removeAbandoned()
            let discarded = try await sessions.discardedRecordings()
            for key in discarded { try await discard(key) }
            _ = try await progress.forgetDeletions(olderThan: Self.memory)
            _ = try await signIns.forget(olderThan: Self.signInMemory)
            _ = try await tickets.removeExpired()
            _ = try await attempts.forgetWornOff()
            _ = try await charges.forgetOld()
            guard uploads + partial + discarded.count > 0 else { return }
            logger.notice(
                "cleared up",
                metadata: [
                    "broken_uploads": "\(uploads)", "partial_files": "\(partial)",
                    "discarded_recordings": "\(discarded.count)",
                ])
        } catch {
            logger.warning("cannot clear up; trying again later", metadata: ["error": "\(error)"])
        }
    }
}
