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

    /// The pauses between tries to record a stored recording.
    ///
    /// Another transaction may hold the session, or the queue of notifications may be full. The client has sent the whole
    /// recording, and would have to send it again.
    static let pauses: [Duration] = [.milliseconds(500), .seconds(1), .seconds(2), .seconds(4)]

    /// Records the stored recording in the database, or removes the file.
    ///
    /// If the file cannot be removed, or the database does not answer, the janitor removes it. The database lists the
    /// file for removal until the recording belongs to the session.
    private func attach(_ stored: StoredRecording) async throws {
        var pauses = Self.pauses[...]
        while true {
            do {
                if try await route.sessions.enter(stored, from: recording, into: session, as: principal) { return }
                await route.remove(recording, logger)
                throw superseded
            } catch let error as PostgresError {
                // The connection may have broken during the commit, which may still be running. This query waits for
                // the lock of that commit. Only an answer that the session lacks the recording allows another try, or
                // the removal of the file. The task is unstructured because the present one may be cancelled.
                let isEntered = await Task { try? await route.sessions.hasEntered(recording, into: session) }.value
                if isEntered == true { return }
                guard isEntered == false else { throw error }
                guard error.isTransient, !Task.isCancelled, let pause = pauses.popFirst() else {
                    await route.remove(recording, logger)
                    throw error
                }
                try? await route.clock.sleep(for: pause)
            }
        }
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
            case .internalError, .unavailable: "The recording could not be stored."
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
