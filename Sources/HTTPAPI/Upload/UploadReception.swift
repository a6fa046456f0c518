import Domain
import FoundationEssentials
import Logging
import Metrics
import NIOCore
import NIOHTTP1
import Postgres
import Progress
import Recordings
import Store

/// Receives the recording of a session: from its first byte to the queue, or to a failed session with a reason.
///
/// It changes the session only while the session waits for this upload: not after the session was deleted, or another
/// upload has replaced this one.
struct UploadReception: Sendable {
    let session: SessionID
    let recording: ExpectedRecording
    let form: UploadForm
    /// The size of the request that the client declared; nil without one.
    let declaredBytes: Int64?
    let allowance: UploadAllowance
    let principal: Principal
    let route: UploadRoute
    let logger: Logger

    /// Receives the recording, or marks the session as failed.
    func receive(_ reader: inout UploadReader) async throws {
        do {
            try await store(&reader)
        } catch let kept as RecordingKept {
            // The session waits for its recording.
            throw kept
        } catch {
            await fail(because: error)
            throw error
        }
        route.metrics.finished.increment()
        logger.info("recording received", metadata: ["session": "\(session)"])
    }

    /// Stores the arriving file, and puts the session into the queue.
    private func store(_ reader: inout UploadReader) async throws {
        let isExpected = try await route.progress.reportUpload(
            recording.upload, of: session, status: .uploading, progress: 0, message: "Uploading the recording")
        guard isExpected else { throw superseded }
        let meter = UploadProgress(
            store: route.progress, session: session, upload: recording.upload, size: await size(), clock: route.clock)
        let stored: StoredRecording
        do {
            stored = try await write(&reader, meter)
        } catch {
            await meter.end()
            throw error
        }
        await meter.end()
        allowance.allArrived()
        try await attach(stored)
    }

    /// What is known of the size of the recording.
    private func size() async -> UploadProgress.Size {
        if let declaredBytes { return .known(declaredBytes) }
        let usual = try? await route.sessions.usualRecordingBytes()
        return .unknown(usual: usual ?? UploadProgress.Size.firstUsual)
    }

    private var superseded: Problem {
        Problem(
            .conflict,
            "The session no longer waits for this upload: it was deleted, or another upload has replaced this one."
        )
        .closing()
    }

    /// Records the stored recording in the database, or removes the file.
    ///
    /// While the database does not answer, ``LateEntries`` keeps the recording. If the file cannot be removed, the janitor
    /// removes it: the database lists the file for removal until the recording belongs to the session.
    private func attach(_ stored: StoredRecording) async throws {
        do {
            let receipt = RecordingReceipt(stored, from: recording, into: session, as: principal)
            if try await route.entries.enter(receipt) { return }
        } catch let error as PostgresError {
            // Unstructured: the present task may be cancelled. Only an answer that the session lacks the recording allows
            // the removal of the file.
            let isEntered = await Task { try? await route.sessions.hasEntered(recording, into: session) }.value
            if isEntered == true { return }
            if isEntered == false { await route.remove(recording, logger) }
            throw error
        }
        await route.remove(recording, logger)
        throw superseded
    }

    private func write(_ reader: inout UploadReader, _ meter: UploadProgress) async throws -> StoredRecording {
        try await route.recordings.write(key: recording.key) { writer in
            if let kind = form.refusal { throw Problem(kind) }
            var check = RecordingCheck()
            while let bytes = try await reader.readFile() {
                try check.take(bytes)
                guard writer.byteCount + Int64(bytes.readableBytes) <= Int64(route.settings.maximumBytes) else {
                    throw route.tooLarge
                }
                try await writer.write(bytes)
                route.metrics.bytes.increment(by: bytes.readableBytes)
                meter.received(writer.byteCount)
            }
            let format = try check.finish()
            try await reader.readEnd()
            return StoredRecording(bytes: writer.byteCount, sha256: try await writer.digest(), format: format)
        }
    }

    /// Marks the session of a broken upload as failed, which its watchers see.
    private func fail(because error: any Error) async {
        let problem = ErrorMiddleware.problem(for: error)
        let isBrokenOff = Self.isBrokenConnection(error) || problem.kind == .malformed
        route.metrics.failed(with: isBrokenOff ? nil : problem.kind)
        let reason =
            switch problem.kind {
            case _ where isBrokenOff: "The upload broke off before the recording was complete."
            case .internalError, .unavailable, .storageUnavailable: "The recording could not be stored."
            default: problem.detail
            }
        // Unstructured: after a disconnect this task is cancelled, and the watchers would wait forever.
        await Task {
            do {
                _ = try await route.progress.reportUpload(
                    recording.upload, of: session, status: .failed, progress: 0, error: reason)
            } catch {
                logger.warning(
                    "cannot mark a broken upload as failed",
                    metadata: ["session": "\(session)", "error": "\(error)"])
            }
        }.value
    }

    /// True if the client disconnected, or the server cut it off.
    ///
    /// In the middle of a body, HTTP does not expect that end.
    static func isBrokenConnection(_ error: any Error) -> Bool {
        error is HTTPParserError || error is IOError || error is ChannelError || error is CancellationError
    }
}
