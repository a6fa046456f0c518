public import CoreMetrics
import Domain
import FoundationEssentials
public import Logging
public import Polling
import Postgres
public import Recordings
public import ServiceLifecycle
public import Store
import Synchronization

/// Enters recordings into the database, also those that were complete while it was away.
///
/// A request that has stored a whole recording enters it. If the database does not answer, the request keeps a receipt beside the
/// recordings, and tries again for ``patience``. After that, or when its client or its server goes, the receipt remains. Every server
/// that shares `UPLOAD_DIR` looks for receipts and enters their recordings, also after a restart.
///
/// Entering twice does no harm: the database attaches a recording only while the session waits for its upload.
public final class LateEntries: Service {
    /// How long a request waits for a database that is away.
    ///
    /// PostgreSQL restarts within this time, and proxies wait longer for an answer.
    static let patience = Duration.seconds(15)
    /// The pauses between two tries of a request; the last one repeats.
    private static let pauses: [Duration] = [.milliseconds(500), .seconds(1), .seconds(2)]
    /// The time between two looks for receipts.
    private static let interval = Duration.seconds(2)

    private let stores: Stores
    private let recordings: RecordingStore
    /// How long a complete resumable upload answers.
    private let resumeLifetime: Duration
    /// Counts recordings that entered the queue.
    private let finished: Counter
    private let clock: any MonotonicClock
    private let logger: Logger
    /// The receipts of requests of this process that still try by themselves.
    private let held = Mutex<Set<String>>([])

    /// Enters recordings.
    ///
    /// - Parameters:
    ///   - stores: The database.
    ///   - recordings: The recordings on disk.
    ///   - resumeLifetime: How long a complete resumable upload answers.
    ///   - metrics: Counts the recordings.
    ///   - clock: Times the tries.
    ///   - logger: Takes the log.
    public init(
        stores: Stores, recordings: RecordingStore, resumeLifetime: Duration, metrics: any MetricsFactory,
        clock: any MonotonicClock, logger: Logger
    ) {
        self.stores = stores
        self.recordings = recordings
        self.resumeLifetime = resumeLifetime
        finished = Counter(label: "therapybridge_uploads_finished_total", factory: metrics)
        self.clock = clock
        self.logger = logger
    }

    // MARK: - Receipts

    /// Enters the recordings of receipts until the graceful shutdown.
    public func run() async throws {
        await cancelWhenGracefulShutdown {
            // What the log says of each receipt, so that it says everything once.
            var said: [String: String] = [:]
            while !Task.isCancelled {
                said = await self.enterReceipts(said)
                try? await self.clock.sleep(for: Self.interval)
            }
        }
    }

    /// Tries each receipt once.
    ///
    /// - Parameter said: Why each receipt was not entered the last time.
    /// - Returns: Why each receipt is not entered now.
    private func enterReceipts(_ said: [String: String]) async -> [String: String] {
        var reasons: [String: String] = [:]
        do {
            for name in try await recordings.receiptNames() where !held.withLock({ $0.contains(name) }) {
                do {
                    try await enterReceipt(name)
                } catch {
                    if Task.isCancelled { return said }
                    let reason = (error as? PostgresError)?.description ?? "\(type(of: error))"
                    reasons[name] = reason
                    guard said[name] != reason else { continue }
                    logger.warning(
                        "a recording waits for the database",
                        metadata: ["receipt": "\(name)", "error": "\(reason)"])
                }
            }
        } catch {
            guard !Task.isCancelled, said[""] == nil else { return said }
            logger.warning("cannot look for recordings that wait", metadata: ["error": "\(type(of: error))"])
            reasons[""] = "folder"
        }
        return reasons
    }

    /// Enters the recordings of the receipts of one session or one upload.
    ///
    /// A client that asks for them has its answer at once, without the next look.
    ///
    /// - Parameter part: The id of the session or the upload.
    func enterReceipts(with part: String) async {
        guard let names = try? await recordings.receiptNames() else { return }
        for name in names where name.contains(part) && !held.withLock({ $0.contains(name) }) {
            // The next look tries again, and logs the reason.
            try? await enterReceipt(name)
        }
    }

    private func enterReceipt(_ name: String) async throws {
        guard let contents = try await recordings.receipt(name) else { return }
        guard let receipt = try? JSONDecoder().decode(RecordingReceipt.self, from: Data(contents)) else {
            logger.error("a receipt of a recording cannot be read, and is removed", metadata: ["receipt": "\(name)"])
            return try await recordings.removeReceipt(name)
        }
        let outcome = try await isInPlace(receipt) ? attempt(receipt) : .refused
        if outcome == .entered {
            finished.increment()
            logger.notice("recording entered late", metadata: ["session": "\(receipt.session)"])
        } else if outcome == .refused {
            await remove(receipt)
        }
        try await recordings.removeReceipt(name)
    }

    /// True if the file of a recording is in its place, or could be put there.
    ///
    /// A resumable upload has its receipt before its file is in place. Until then, the file is the last one of its parts.
    private func isInPlace(_ receipt: RecordingReceipt) async throws -> Bool {
        if try await recordings.open(key: receipt.key) != nil { return true }
        guard receipt.writer != nil else { return false }
        let part = RecordingPart(name: receipt.key, byteCount: receipt.bytes)
        let upload = UploadID(rawValue: receipt.upload).description
        return (try? await recordings.publish(part, of: upload, as: receipt.key)) != nil
    }

    /// Removes a recording that its session does not take, and says so to the session's watchers.
    private func remove(_ receipt: RecordingReceipt) async {
        logger.notice(
            "a recording that waited is removed: its session is gone or waits for another one, or the right has ended",
            metadata: ["session": "\(receipt.session)"])
        await RecordingRemover(sessions: stores.sessions, recordings: recordings)
            .remove(receipt.key, of: receipt.upload, failingAt: .notice, logger)
        // A resumable upload that has gone on in another request is not over.
        guard receipt.writer == nil else { return }
        _ = try? await stores.progress.reportUpload(
            receipt.upload, of: receipt.session, status: .failed, progress: 0,
            error: "The recording could not be stored.")
    }

    /// Writes the receipt of a recording.
    ///
    /// - Throws: `FileSystemError` when the disk does not take it.
    func keep(_ receipt: RecordingReceipt) async throws {
        let contents = try JSONEncoder().encode(receipt)
        // Unstructured: the file system calls do nothing in a cancelled task.
        try await Task { try await recordings.keepReceipt(receipt.name, Array(contents)) }.value
    }

    private func forget(_ receipt: RecordingReceipt) async {
        await Task { try? await recordings.removeReceipt(receipt.name) }.value
    }

    // MARK: - Entering

    private enum Outcome {
        /// The recording belongs to its session now.
        case entered
        /// It did before.
        case wasEntered
        /// The session waits for another upload, or is gone, or the user may no longer upload to it.
        case refused
    }

    /// Enters the recording of a request.
    ///
    /// - Parameter receipt: The recording. Its file is in its place.
    /// - Returns: False if the session does not take it.
    /// - Throws: ``RecordingKept`` if a receipt of it remains; ``PostgresError`` if the database refuses it.
    func enter(_ receipt: RecordingReceipt) async throws -> Bool {
        let name = receipt.name
        _ = held.withLock { $0.insert(name) }
        defer { _ = held.withLock { $0.remove(name) } }
        var pauses = Self.pauses[...]
        var end: ContinuousClock.Instant?
        while true {
            do {
                let outcome = try await attempt(receipt)
                await forget(receipt)
                return outcome != .refused
            } catch let error as PostgresError where error.isTransient || error.code == .cancelled {
                if end == nil { try await keep(receipt) }
                let deadline = end ?? clock.now + Self.patience
                end = deadline
                guard clock.now < deadline, await pause(pauses.first ?? .seconds(2)) else {
                    logger.warning(
                        "a recording waits for the database",
                        metadata: ["session": "\(receipt.session)", "error": "\(error)"])
                    throw RecordingKept(session: receipt.session)
                }
                pauses = pauses.dropFirst()
            }
        }
    }

    /// Waits before the next try.
    ///
    /// - Returns: False if the client has gone, or the server stops.
    private func pause(_ duration: Duration) async -> Bool {
        if Task.isCancelled || Task.isShuttingDownGracefully { return false }
        return await cancelWhenGracefulShutdown {
            do { try await self.clock.sleep(for: duration) } catch { return false }
            return true
        }
    }

    /// Tries to enter a recording.
    ///
    /// A connection can break during the commit, and the transaction may still be running. The next try waits for its lock, and
    /// finds the recording entered.
    private func attempt(_ receipt: RecordingReceipt) async throws -> Outcome {
        guard let stored = receipt.stored else { return .refused }
        let isEntered =
            if let writer = receipt.writer {
                try await complete(receipt, stored, by: writer)
            } else {
                try await stores.sessions.enter(
                    stored, from: receipt.recording, into: receipt.session, as: receipt.principal)
            }
        if isEntered { return .entered }
        return try await stores.sessions.hasEntered(receipt.recording, into: receipt.session) ? .wasEntered : .refused
    }

    /// Completes a resumable upload, and removes its parts.
    private func complete(_ receipt: RecordingReceipt, _ stored: StoredRecording, by writer: UUID) async throws -> Bool
    {
        let upload = UploadID(rawValue: receipt.upload)
        guard try await stores.uploads.expect(receipt.recording, of: receipt.session, as: receipt.principal),
            try await stores.uploads.complete(
                upload, by: writer, lifetime: resumeLifetime, with: stored, of: receipt.session, as: receipt.principal)
        else { return false }
        await RecordingRemover(sessions: stores.sessions, recordings: recordings)
            .remove(recordings.partsKey(of: upload.description), of: receipt.upload, failingAt: .notice, logger)
        return true
    }
}
