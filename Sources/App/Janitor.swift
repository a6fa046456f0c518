import Logging
import Polling
import Recordings
import ServiceLifecycle
import Store

/// Clears up what a server left that died: sessions that would say `uploading` for ever, files that no session has, whole or half,
/// and those of deleted sessions.
///
/// And what is of no more use: tickets that nobody used, sign-ins that have long been over, attempts to sign in that have worn
/// off, what was uploaded before the last day, and whose the deleted sessions were.
struct Janitor: Service {
    /// How often it looks.
    private static let interval = Duration.seconds(600)
    /// How long an upload may show no progress, and not be heard of, before it counts as dead.
    private static let uploadSilence = Duration.seconds(600)

    let stores: Stores
    let recordings: RecordingStore
    let clock: any MonotonicClock
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                await clearUp()
                try? await clock.sleep(for: Self.interval)
            }
        }
    }

    /// How long a deletion is told to streams that come back; longer than any of them lives.
    private static let memory = Duration.seconds(86_400)

    /// How long a sign-in that is over is kept: for who looks into what was done under it.
    private static let signInMemory = Duration.seconds(30 * 86_400)

    private func clearUp() async {
        await attempt("uploads") {
            let uploads = try await stores.progress.failAbandonedUploads(olderThan: Self.uploadSilence)
            if uploads > 0 { logger.notice("broken uploads failed", metadata: ["uploads": "\(uploads)"]) }
        }
        await attempt("recordings") { try await removeDiscarded() }
        await attempt("deletions") { _ = try await stores.progress.forgetDeletions(olderThan: Self.memory) }
        await attempt("sign-ins") { _ = try await stores.signIns.forget(olderThan: Self.signInMemory) }
        await attempt("tickets") { _ = try await stores.tickets.removeExpired() }
        await attempt("attempts") { _ = try await stores.attempts.forgetWornOff() }
        await attempt("charges") { _ = try await stores.charges.forgetOld() }
    }

    /// Does one thing; that it fails does not keep the others.
    private func attempt(_ what: String, _ body: () async throws -> Void) async {
        do {
            try await body()
        } catch {
            if Task.isCancelled { return }
            logger.warning("cannot clear up; trying again later", metadata: ["what": "\(what)", "error": "\(error)"])
        }
    }

    /// Removes the files that are of no session any more, or never were.
    private func removeDiscarded() async throws {
        var removed = 0
        defer { if removed > 0 { logger.notice("recordings removed", metadata: ["recordings": "\(removed)"]) } }
        while !Task.isCancelled {
            let keys = try await stores.sessions.takeDiscardedRecordings()
            if keys.isEmpty { return }
            for key in keys {
                do {
                    try await recordings.remove(key: key)
                } catch {
                    logger.warning("a discarded recording cannot be removed", metadata: ["error": "\(error)"])
                    continue
                }
                try await stores.sessions.noteRemoval(recording: key)
                removed += 1
            }
        }
    }
}
