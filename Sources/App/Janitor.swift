import Logging
import Metrics
import Polling
import Recordings
import ServiceLifecycle
import Store

/// Removes what dead servers and expired rows leave behind, and prepares the audit log for the next months, every 10 minutes.
///
/// - Marks a session as failed if its worker died in its last attempt, adds up the counts of sessions, and removes probes that were
///   left over, every half a minute.
/// - Marks a session as failed if its upload died with the server, or if its resumable upload expired. Otherwise it would stay in
///   `uploading`.
/// - Adds the partitions of the audit log, three months ahead.
/// - Removes the files of deleted sessions, and files that belong to no session.
/// - Deletes expired rows: unused tickets, ended sign-ins, old login attempts, old upload charges, old uploads, the records of deleted
///   sessions, old changes of rights, old hints, and old deliveries of webhooks.
struct Janitor: Service {
    /// The pause between two rounds.
    private static let interval = Duration.seconds(600)
    /// The pause between two looks for sessions whose worker died in its last attempt and for probes that were left over, and between
    /// two sums of the counts.
    private static let lapseInterval = Duration.seconds(30)
    /// How long an upload may show no progress before it counts as abandoned.
    private static let abandonedUploadAge = Duration.seconds(600)

    let stores: Stores
    let recordings: RecordingStore
    /// How long an unfinished resumable upload is kept after its last byte.
    let uploadLifetime: Duration
    /// Counts resumable uploads that expired.
    let expiredUploads: Counter
    let clock: any MonotonicClock
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    while !Task.isCancelled {
                        await clearUp()
                        try? await clock.sleep(for: Self.interval)
                    }
                }
                group.addTask {
                    while !Task.isCancelled {
                        await attempt("lapsed sessions") { try await failLapsed() }
                        await attempt("counts") { try await stores.sessions.foldCounts() }
                        await attempt("probes") { try await removeProbes() }
                        try? await clock.sleep(for: Self.lapseInterval)
                    }
                }
                group.addTask {
                    // An upload ends soon after its time, also if that time is short.
                    while !Task.isCancelled {
                        await attempt("uploads") { try await expireUploads() }
                        try? await clock.sleep(for: min(Self.interval, max(uploadLifetime / 4, .seconds(1))))
                    }
                }
            }
        }
    }

    /// Fails the sessions whose worker died in their last attempt.
    ///
    /// The next claim would do it, but all workers may be busy.
    private func failLapsed() async throws {
        let sessions = try await stores.queue.failLapsed()
        if sessions > 0 { logger.warning("sessions given up", metadata: ["sessions": "\(sessions)"]) }
    }

    /// Removes the probes whose check was killed.
    private func removeProbes() async throws {
        let probes = try await stores.sessions.deleteExpiredProbes()
        if probes > 0 { logger.notice("probes removed that were left over", metadata: ["probes": "\(probes)"]) }
    }

    /// Ends the resumable uploads whose time is over.
    private func expireUploads() async throws {
        let uploads = try await stores.uploads.expire()
        if uploads == 0 { return }
        expiredUploads.increment(by: uploads)
        logger.notice("unfinished uploads expired", metadata: ["uploads": "\(uploads)"])
        try await removeDiscarded()
    }

    /// How long the record of a deleted session is kept, for streams that resume.
    ///
    /// A client that resumes after a longer time gets no `session_removed` for the session.
    private static let deletionAge = Duration.seconds(86_400)

    /// How long changes of rights and hints are kept, for servers whose last read was longer ago than usual.
    private static let logAge = Duration.seconds(600)

    /// How long an ended sign-in is kept, for an investigation of what was done under it.
    private static let endedSignInAge = Duration.seconds(30 * 86_400)

    private func clearUp() async {
        await attempt("audit partitions") { try await addAuditPartitions() }
        await attempt("uploads") {
            let uploads = try await stores.progress.failAbandonedUploads(olderThan: Self.abandonedUploadAge)
            if uploads > 0 { logger.notice("abandoned uploads failed", metadata: ["uploads": "\(uploads)"]) }
        }
        await attempt("recordings") { try await removeDiscarded() }
        await attempt("deletions") { _ = try await stores.progress.forgetDeletions(olderThan: Self.deletionAge) }
        await attempt("logs") { _ = try await stores.progress.deleteExpiredLogs(olderThan: Self.logAge) }
        await attempt("sign-ins") { _ = try await stores.signIns.forget(olderThan: Self.endedSignInAge) }
        await attempt("tickets") { _ = try await stores.tickets.removeExpired() }
        await attempt("attempts") { _ = try await stores.attempts.forgetWornOff() }
        await attempt("charges") { _ = try await stores.charges.forgetOld() }
        await attempt("webhooks") { try await stores.outbox.deleteOld() }
        await attempt("old uploads") { try await stores.uploads.forgetOld(age: uploadLifetime) }
    }

    /// Runs one task, and logs its error.
    ///
    /// The other tasks run anyway.
    private func attempt(_ what: String, _ body: () async throws -> Void) async {
        do {
            try await body()
        } catch {
            if Task.isCancelled { return }
            logger.warning("cleanup failed; trying again later", metadata: ["what": "\(what)", "error": "\(error)"])
        }
    }

    /// Adds the partitions of the audit log for the months ahead.
    ///
    /// If it cannot, the default partition takes their records, and a later round moves them.
    private func addAuditPartitions() async throws {
        while !Task.isCancelled, try await stores.audit.addPartition() {}
    }

    /// Removes the files that belong to no session.
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
