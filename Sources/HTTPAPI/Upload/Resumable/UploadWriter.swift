import CoreMetrics
import Domain
import DurationUnits
import FoundationEssentials
import Hummingbird
import Logging
import NIOCore
import Polling
import Postgres
import Recordings
import Store

/// Writes the bytes of one request of a resumable upload, and commits what is durable.
///
/// Three things happen at the same time: the request brings bytes, the server extends the lease every second, and a client that falls
/// silent gets what it has sent committed. They take turns.
actor UploadWriter {
    /// How often the server extends the lease.
    static let beatInterval = Duration.seconds(1)
    /// How often bytes are committed while more arrive.
    private static let checkpointInterval = Duration.seconds(2)
    /// A part with fewer bytes is copied into the next one.
    ///
    /// The number of parts therefore stays small, however short the requests are.
    private static let smallPart: Int64 = 1 << 20

    private let patch: UploadPatch
    private var upload: ResumableUpload
    private let meter: UploadProgress
    private var checksum: UploadChecksum?
    /// Checks the beginning of the file; nil once another request has.
    private var check: RecordingCheck?
    /// True if ``check`` has seen every byte from the first one on.
    private var isCheckWhole = false
    /// Why the bytes are no recording; it counts once their checksum is right.
    private var refusal: Problem?
    private var part: RecordingPartWriter?
    /// The name of the last part, if the present one begins with its bytes.
    private var replaced: RecordingPart?
    /// The bytes that this request has brought.
    private var received: Int64 = 0
    /// The bytes that the request has brought and that are not committed.
    private var uncommitted: Int64 = 0
    private var heardAt: ContinuousClock.Instant
    private var committedAt: ContinuousClock.Instant
    /// True once all bytes are there: the server is at work, and the client has nothing to say.
    private var isFinishing = false
    private var hasLost = false
    private var beats: Task<Void, Never>?

    private var isBusy = false
    private var waiters: [CheckedContinuation<Void, Never>] = []

    private var route: ResumableUploadRoutes { patch.route }
    private var recordings: RecordingStore { route.form.recordings }
    private var clock: any MonotonicClock { route.form.clock }
    private var folder: String { patch.id.description }

    init(_ patch: UploadPatch, _ upload: ResumableUpload) {
        self.patch = patch
        self.upload = upload
        checksum = patch.checksum
        heardAt = patch.route.form.clock.now
        committedAt = heardAt
        if !upload.isRecognized || upload.offset == 0 { check = RecordingCheck() }
        meter = UploadProgress(
            store: patch.route.form.progress, session: upload.session, upload: upload.id.rawValue,
            size: .known(upload.length), clock: patch.route.form.clock)
    }

    // MARK: - Turns

    private func takeTurn() async {
        if !isBusy {
            isBusy = true
            return
        }
        await withCheckedContinuation { waiters.append($0) }
    }

    private func giveTurn() {
        // The next one has the turn at once: nobody can come in between.
        if waiters.isEmpty { isBusy = false } else { waiters.removeFirst().resume() }
    }

    // MARK: - The lease

    /// Begins to extend the lease.
    ///
    /// The task is unstructured because it runs beside the request. ``end()`` ends it.
    func begin() {
        let clock = clock
        beats = Task { [weak self] in
            while true {
                do { try await clock.sleep(for: Self.beatInterval) } catch { return }
                await self?.beat()
            }
        }
    }

    private func end() async {
        beats?.cancel()
        await beats?.value
        await meter.end()
    }

    private func beat() async {
        if hasLost { return }
        let silence = isFinishing ? .zero : clock.now - heardAt
        let writer = patch.writer
        do {
            let found = try await route.uploads.change(patch.id, as: patch.principal) { upload, now in
                upload.extend(writer, silentFor: silence, now: now)
            }
            if found?.decision != true { hasLost = true }
        } catch {
            // The next beat may reach the database, before the lease runs out or another request comes.
        }
        // The charge is now that of the request that has taken over.
        if hasLost { return }
        try? await route.form.charges.keep(patch.id.rawValue, silentFor: silence)
        guard silence >= Self.beatInterval, checksum == nil, !isFinishing else { return }
        await takeTurn()
        defer { giveTurn() }
        // The connection may be dead. What arrived must not be lost with it.
        if uncommitted > 0, patch.offset + received < patch.length, !isFinishing, !hasLost { try? await commitPart() }
    }

    // MARK: - Bytes

    /// Takes the next bytes of the request.
    ///
    /// - Throws: 413 beyond the length, 415 if the bytes are no recording; the reason if another request has taken over, or the right
    ///   has ended; `FileSystemError`.
    func write(_ bytes: ByteBuffer) async throws {
        heardAt = clock.now
        await takeTurn()
        defer { giveTurn() }
        try await checkHold()
        received += Int64(bytes.readableBytes)
        route.metrics.bytes.increment(by: bytes.readableBytes)
        guard patch.offset + received <= patch.length else {
            received -= Int64(bytes.readableBytes)
            throw Problem(.tooLarge, "The upload has \(patch.length) bytes, and this request brings more.").closing()
        }
        try await openPart()
        try examine(bytes)
        checksum?.take(bytes)
        try await withPart { try await $0.write(bytes) }
        uncommitted += Int64(bytes.readableBytes)
        meter.received(patch.offset + received)
        if checksum == nil, clock.now - committedAt >= Self.checkpointInterval { await checkpoint() }
    }

    /// Lends the open part.
    ///
    /// The caller has the turn.
    private func withPart<Result: Sendable>(
        _ body: (inout RecordingPartWriter) async throws -> Result
    ) async throws -> Result? {
        guard var part = part.take() else { return nil }
        defer { self.part = part }
        return try await body(&part)
    }

    private func checkHold() async throws {
        if hasLost { throw await patch.loss() }
    }

    /// Checks the next bytes.
    private func examine(_ bytes: ByteBuffer) throws {
        guard refusal == nil else { return }
        do {
            try check?.take(bytes)
        } catch {
            guard checksum != nil else { throw error }
            refusal = error
        }
    }

    /// Opens a part if none is open.
    ///
    /// A part of an earlier request is never written again. If it is small, the new part begins with its bytes.
    private func openPart() async throws {
        guard part == nil else { return }
        if received > 0, check != nil, !isCheckWhole {
            // The bytes of earlier requests have not decided, or this is the first request.
            var fresh = RecordingCheck()
            for part in upload.parts {
                try await recordings.read(RecordingPart(part), of: folder) { try fresh.take($0) }
            }
            check = fresh
            isCheckWhole = true
        }
        var part = try await recordings.beginPart(of: folder, stem: UUID().uuidString.lowercased())
        if let last = upload.parts.last, last.byteCount < Self.smallPart {
            do {
                try await recordings.read(RecordingPart(last), of: folder) { try await part.write($0) }
            } catch {
                await part.discard()
                throw error
            }
            replaced = RecordingPart(last)
        }
        self.part = part
    }

    // MARK: - Commits

    /// Makes bytes durable while more arrive.
    ///
    /// An error of the database does not stop the upload: a later commit has these bytes, too.
    private func checkpoint() async {
        committedAt = clock.now
        do {
            guard let durable = try await withPart({ try await $0.checkpoint() }) else { return }
            try await commit(durable)
        } catch {
            patch.context.logger.debug("cannot commit bytes of an upload yet", metadata: ["error": "\(error)"])
        }
    }

    /// Ends the present part, and commits its bytes.
    private func commitPart() async throws {
        guard var part = part.take() else { return }
        let durable = try await part.finish()
        committedAt = clock.now
        try await commit(durable)
        self.replaced = nil
    }

    private func commit(_ durable: RecordingPart) async throws {
        // A part that begins with the bytes of an earlier one must not lose them.
        guard durable.byteCount >= replaced?.byteCount ?? 1 else { return }
        let (writer, lifetime, replaced) = (patch.writer, route.settings.resumeLifetime, replaced)
        let isRecognized = check?.format != nil
        let found = try await route.uploads.change(patch.id, as: patch.principal) { upload, now in
            upload.commit(
                ResumableUpload.Part(durable), replacing: replaced?.name, isRecognized: isRecognized, by: writer,
                now: now,
                lifetime: lifetime)
        }
        guard let found, found.decision else {
            hasLost = true
            throw await patch.loss()
        }
        upload = found.upload
        uncommitted = max(patch.offset + received - upload.offset, 0)
    }

    // MARK: - The end of the request

    /// Ends the request: commits its bytes, or attaches the recording if they were the last.
    ///
    /// - Returns: The upload afterwards.
    /// - Throws: 460 if the bytes do not have their checksum, 415 if the whole file is no recording; as ``write(_:)``.
    func finish() async throws -> ResumableUpload {
        let after = try await settle()
        await end()
        return await release() ?? after
    }

    private func settle() async throws -> ResumableUpload {
        await takeTurn()
        defer { giveTurn() }
        try await checkHold()
        if let checksum, !checksum.isMet {
            throw Problem(.checksumMismatch, "The bytes do not have the checksum of Upload-Checksum. Send them again.")
        }
        if let refusal { throw refusal }
        checksum = nil
        isFinishing = true
        if patch.offset + received == patch.length {
            try await complete()
        } else {
            try await commitPart()
            await meter.pause(at: upload.offset)
        }
        return upload
    }

    /// Ends a request that broke off or was refused: what arrived is kept, unless it had a checksum.
    ///
    /// - Parameter releases: False leaves the hold to lapse by itself.
    func breakOff(releases: Bool) async {
        // Unstructured: the request's task may be cancelled, and neither the files nor the database would answer it.
        await Task {
            await keepOrDiscard()
            await end()
            if releases { await release() }
        }.value
    }

    private func keepOrDiscard() async {
        await takeTurn()
        defer { giveTurn() }
        isFinishing = true
        if checksum == nil, !hasLost, uncommitted > 0 {
            do {
                try await commitPart()
                await meter.pause(at: upload.offset)
            } catch {
                patch.context.logger.notice("cannot keep bytes of an upload", metadata: ["error": "\(error)"])
            }
        }
        if var part = part.take() { await part.discard() }
    }

    /// Ends the hold of this request, and charges what it brought.
    ///
    /// No beat may run any more: without the lease, it would think that another request has taken over.
    ///
    /// - Returns: The upload afterwards; nil if the database does not answer. The lease and the charge then lapse by themselves, and the
    ///   quota lacks the bytes.
    @discardableResult private func release() async -> ResumableUpload? {
        let (uploads, id, writer, bytes, principal) = (route.uploads, patch.id, patch.writer, received, patch.principal)
        // Unstructured: the request's task may be cancelled.
        return await Task {
            (try? await uploads.release(id, by: writer, charging: bytes, as: principal)) ?? nil
        }.value
    }

    private func complete() async throws {
        // The last byte of an upload is committed with its recording. A request that completes an upload therefore brings a byte.
        guard var part = part.take() else { throw Problem.wrongOffset(upload.offset) }
        // A late percentage would take the session from `pending` back to `uploading`.
        await meter.end()
        let last = try await part.finish()
        // If the server dies now, or the database is away, the client sends one byte again, and no more.
        var isDatabaseAway = false
        do { try await commit(last) } catch let error as PostgresError { isDatabaseAway = error.isTransient }
        var parts = upload.parts.map { RecordingPart($0) }
        if let known = parts.last, known.name == last.name || known.name == replaced?.name { parts.removeLast() }
        parts.append(last)
        let completion = UploadCompletion(
            patch: patch, upload: upload, parts: parts, isDatabaseAway: isDatabaseAway)
        // One part that this request has seen from its first byte on is the recording.
        if parts.count == 1, isCheckWhole, var check {
            let format = try check.finish()
            upload = try await completion.publish(last, sha256: try await part.digest(), format: format)
        } else {
            upload = try await completion.assemble()
        }
        await route.removeParts(of: patch.id, patch.context.logger)
    }
}

extension RecordingPart {
    init(_ part: ResumableUpload.Part) { self.init(name: part.name, byteCount: part.byteCount) }
}

extension ResumableUpload.Part {
    init(_ part: RecordingPart) { self.init(name: part.name, byteCount: part.byteCount) }
}
