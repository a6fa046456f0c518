import CoreMetrics
import Domain
import DurationUnits
import FoundationEssentials
import Hummingbird
import Logging
import NIOCore
import NIOHTTP1
import Postgres
import Recordings
import ServiceLifecycle
import Store

/// One request that brings bytes of a resumable upload: from its admission to the answer.
struct UploadPatch: Sendable {
    let route: ResumableUploadRoutes
    let context: UserContext
    let id: UploadID
    /// Where the request continues.
    let offset: Int64
    /// The size of the whole recording.
    let length: Int64
    /// The most bytes that the request brings.
    let announced: Int64
    /// True if the request has no body.
    let isEmpty: Bool
    let checksum: UploadChecksum?
    /// Names this request as a writer.
    let writer = UUID()

    var principal: Principal { context.claims.principal }

    /// Receives the body.
    ///
    /// - Returns: The upload afterwards.
    /// - Throws: A ``Problem``; the error of the connection, the file system or the database. What arrived is kept, except with a
    ///   checksum.
    func run(_ request: Request) async throws -> ResumableUpload {
        guard let (upload, admission) = try await admit() else { throw Problem.noUpload.closing(request) }
        switch admission {
        case .admitted: break
        // A client whose last answer was lost asks with an empty request.
        case .complete where isEmpty: return upload
        case .complete: throw Problem(.tooLarge, "The upload is complete.").closing(request)
        case .gone: throw Problem.uploadGone.closing(request)
        case .wrongOffset(let offset): throw Problem.wrongOffset(offset).closing(request)
        case .locked(let wait): throw Problem.uploadLocked(wait).closing(request)
        }
        if offset > 0 { route.metrics.resumed.increment() }
        do {
            try await route.form.charges.chargeRequest(
                of: id.rawValue, of: context.user.id, bytes: announced, limits: route.settings.limits)
        } catch {
            await release()
            guard let refusal = error as? UploadRefusal else { throw error }
            route.metrics.refused(by: refusal.limit)
            throw Problem(refusal, route.settings.limits).closing(request)
        }
        let reception = UploadWriter(self, upload)
        await reception.begin()
        do {
            var body = request.body.makeAsyncIterator()
            while let bytes = try await body.next() {
                if bytes.readableBytes > 0 { try await reception.write(bytes) }
                // The client continues at another server, from what is durable.
                if Task.isShuttingDownGracefully {
                    throw Problem(.unavailable, "The server is shutting down. Continue in a moment.").closing()
                }
            }
            let after = try await reception.finish()
            if after.state == .complete {
                route.metrics.finished.increment()
                context.logger.info("recording received", metadata: ["session": "\(upload.session)"])
            }
            return after
        } catch {
            // The receipt of a recording that is kept counts only under the hold of this request.
            await reception.breakOff(releases: !(error is RecordingKept))
            throw await answer(to: error, of: upload)
        }
    }

    /// Admits this request as the writer.
    ///
    /// A lease whose server does not extend it any more belongs to a server that died, or has lost the database. It ends within
    /// seconds, and the request waits for that: its client has done nothing wrong.
    private func admit() async throws -> (upload: ResumableUpload, admission: ResumableUpload.Admission)? {
        var held: ResumableUpload.Lease?
        while true {
            let found = try await route.uploads.change(id, as: principal) { upload, now in
                upload.admit(writer, at: offset, now: now)
            }
            guard let (upload, admission) = found else { return nil }
            guard case .locked = admission, let lease = upload.lease else { return (upload, admission) }
            if let held, held != lease { return (upload, admission) }
            held = lease
            try await route.form.clock.sleep(for: Self.lookInterval)
        }
    }

    /// How often a request looks whether the lease of another one is extended: less often than that happens.
    private static let lookInterval = UploadWriter.beatInterval * 1.5

    /// Ends the hold of this request.
    private func release() async {
        // Unstructured: this task may be cancelled.
        await Task {
            _ = try? await route.uploads.change(id, as: principal) { upload, _ in upload.release(writer) }
        }.value
    }

    /// The error to answer with; an upload that is no recording ends now.
    private func answer(to error: any Error, of upload: ResumableUpload) async -> any Error {
        if error is HTTPParserError || error is RecordingKept { return error }
        // A lost connection is no fault, and nobody reads the answer.
        if UploadReception.isBrokenConnection(error) {
            return Problem(.malformed, "The body broke off. Ask by HEAD where to continue.").closing()
        }
        let problem = ErrorMiddleware.problem(for: error)
        // Another request has ended the upload, and removed its files under this one.
        if problem.kind == .internalError, let reading = try? await route.uploads.upload(id, as: principal),
            reading.upload.state(at: reading.now) == .ended
        {
            return Problem.uploadGone.closing()
        }
        if problem.kind == .unsupportedMedia {
            route.metrics.failed(with: problem.kind)
            // Unstructured: this task may be cancelled.
            await Task {
                do {
                    _ = try await route.end(upload, because: problem.detail, context.logger)
                } catch {
                    context.logger.warning(
                        "cannot end a refused upload", metadata: ["upload": "\(id)", "error": "\(error)"])
                }
            }.value
        } else if problem.kind.isOfServer {
            route.metrics.failed(with: problem.kind)
        }
        // The log has the error itself, with the folder and the remedy.
        return problem.kind == .internalError || error is StorageFault ? error : problem.closing()
    }

    /// Why this request is not the writer any more.
    func loss() async -> any Error {
        do {
            guard let reading = try await route.uploads.upload(id, as: principal) else {
                guard
                    let (_, isActive) = try await route.form.users.account(
                        of: principal.user, signIn: principal.signIn)
                else { return Problem.unauthorized.closing() }
                return (isActive ? Problem.noUpload : Problem.inactive).closing()
            }
            switch reading.upload.state(at: reading.now) {
            case .ended: return Problem.uploadGone.closing()
            case .complete: return Problem.wrongOffset(reading.upload.offset).closing()
            case .open: return Problem.uploadLocked(.seconds(1)).closing()
            }
        } catch {
            return error
        }
    }
}
