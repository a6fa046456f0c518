import Domain
import Foundation
import Logging
import Metrics
import NIOCore
import NIOHTTP1
import Postgres
import Progress
import Recordings
import Store

/// One try to bring a session's recording: from its first byte to the queue, or to a session that says why not.
///
/// Whatever it says of the session counts as long as the session waits for this upload: not once the session was deleted, or
/// another upload has taken its place.
struct UploadReception: Sendable {
    let session: SessionID
    let recording: ExpectedRecording
    let form: UploadForm
    let expectedBytes: Int64
    let allowance: UploadAllowance
    let principal: Principal
    let route: UploadRoute
    let logger: Logger

    /// Takes in the recording, or marks the session as failed.
    func receive(_ reader: inout UploadReader) async throws {
        do {
            try await store(&reader)
        } catch {
            await fail(because: error)
            throw error
        }
        route.metrics.finished.increment()
        logger.info("recording received", metadata: ["session": "\(session)"])
    }

    /// Stores the file while it comes and puts the session into the queue.
    private func store(_ reader: inout UploadReader) async throws {
        let isExpected = try await route.progress.reportUpload(
            recording.upload, of: session, status: .uploading, progress: 0, message: "Uploading the recording")
        guard isExpected else { throw superseded }
        let meter = UploadProgress(
            store: route.progress, session: session, upload: recording.upload, expectedBytes: expectedBytes,
            clock: route.clock)
        let stored: StoredRecording
        do {
            stored = try await write(&reader, meter)
        } catch {
            await meter.end()
            throw error
        }
        await meter.end()
        try await enter(stored)
    }

    private var superseded: Problem {
        Problem(
            .conflict, "The session does not wait for this upload any more: it was deleted, or another took its place."
        )
        .closing()
    }

    /// Enters the stored recording into the database, or removes it again.
    ///
    /// Where it cannot be removed, or the database does not answer, the janitor removes it: it is known there until it is
    /// entered.
    private func enter(_ stored: StoredRecording) async throws {
        do {
            if try await route.sessions.enter(stored, from: recording, into: session, as: principal) { return }
            await remove()
            throw superseded
        } catch let error as PostgresError {
            // The connection may have broken at the commit, and the commit may still be under way: the database is asked
            // behind a lock that waits for it. The file is removed only when it answers that it does not have it. In a task
            // of its own, since this one may be cancelled.
            let isEntered = await Task { try? await route.sessions.hasEntered(recording, into: session) }.value
            if isEntered == true { return }
            if isEntered == false { await remove() }
            throw error
        }
    }

    /// Removes the file.
    private func remove() async {
        // In a task of its own: the file system does nothing for one that is cancelled.
        await Task {
            do {
                try await route.recordings.remove(key: recording.key)
                try await route.sessions.noteRemoval(recording: recording.key, of: recording.upload)
            } catch {
                logger.notice("a file is left to be removed later", metadata: ["error": "\(error)"])
            }
        }.value
    }

    private func write(_ reader: inout UploadReader, _ meter: UploadProgress) async throws -> StoredRecording {
        try await route.recordings.write(key: recording.key) { writer in
            var check = RecordingCheck(form.format)
            while let received = try await reader.readFile() {
                guard let bytes = try check.take(received) else { continue }
                guard writer.byteCount + Int64(bytes.readableBytes) <= Int64(route.settings.maximumBytes) else {
                    throw route.tooLarge
                }
                try await writer.write(bytes)
                route.metrics.bytes.increment(by: bytes.readableBytes)
                meter.received(writer.byteCount)
            }
            try check.finish()
            try await reader.readEnd()
            return StoredRecording(bytes: writer.byteCount, sha256: writer.digest())
        }
    }

    /// Marks the session of a broken upload, so that whoever watches it knows.
    private func fail(because error: any Error) async {
        let problem = ErrorMiddleware.problem(for: error)
        let isBrokenOff = Self.isBrokenConnection(error) || problem.kind == .malformed
        route.metrics.failed(with: isBrokenOff ? nil : problem.kind)
        let reason =
            switch problem.kind {
            case _ where isBrokenOff: "The upload broke off before the recording was complete."
            case .internalError, .unavailable: "The recording could not be stored."
            default: problem.detail
            }
        // In a task of its own: when the client has gone, this one is cancelled, and the watchers would wait for ever.
        await Task {
            do {
                _ = try await route.progress.reportUpload(
                    recording.upload, of: session, status: .failed, progress: 0, error: reason)
            } catch {
                logger.warning(
                    "a broken upload could not be marked as failed",
                    metadata: ["session": "\(session)", "error": "\(error)"])
            }
        }.value
    }

    /// Whether the client has gone, or been cut off: in the middle of a body that is an end which HTTP does not expect.
    private static func isBrokenConnection(_ error: any Error) -> Bool {
        error is HTTPParserError || error is IOError || error is ChannelError || error is CancellationError
    }
}
