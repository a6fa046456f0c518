import CoreMetrics
import Domain
import FoundationEssentials
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Polling
import Recordings
import Store

/// Resumable uploads by the tus protocol: `POST`, `HEAD`, `PATCH`, `DELETE` and `OPTIONS` under `/api/uploads`.
///
/// An upload is visible to the user who began it, and to nobody else. The database asks for the right at each request, and at each
/// commit of bytes.
struct ResumableUploadRoutes: Sendable {
    let form: UploadRoute
    let uploads: UploadStore
    let metrics: UploadMetrics

    var settings: UploadSettings { form.settings }

    func add(to table: inout RouteTable) {
        table.unauthenticated(.options, "/api/uploads", produces: nil, options)
        table.user(.post, "/api/uploads", produces: nil) { request, context in
            try await readingRest(context) { try await create(request, context) }
        }
        table.user(.head, "/api/uploads/:id", produces: nil, head)
        table.user(.patch, "/api/uploads/:id", produces: nil) { request, context in
            try await readingRest(context) { try await patch(request, context) }
        }
        table.user(.delete, "/api/uploads/:id", produces: nil, delete)
    }

    @Sendable private func options(_ request: Request, _ context: AppContext) async throws -> Response {
        Response(
            status: .noContent,
            headers: [
                .tusVersion: Tus.version, .tusExtension: Tus.extensions, .tusMaxSize: "\(settings.maximumBytes)",
                .tusChecksumAlgorithm: UploadChecksum.algorithms, .cacheControl: "no-store",
            ])
    }

    @Sendable private func create(_ request: Request, _ context: UserContext) async throws -> Response {
        try Tus.checkVersion(of: request)
        let creation = UploadCreation(route: self, context: context)
        let (upload, isNew) = try await creation.run(request)
        var headers = Self.headers(of: upload)
        headers[.location] = Self.path(of: upload.id)
        // The body of a repeated creation begins at the first byte again. The client learns where the upload continues.
        guard request.hasBody, isNew || upload.offset == 0 else {
            if request.hasBody { headers[.connection] = "close" }
            return Response(status: .created, headers: headers)
        }
        let after = try await receive(request, into: upload, at: 0, context)
        headers = Self.headers(of: after)
        headers[.location] = Self.path(of: upload.id)
        return Response(status: .created, headers: headers)
    }

    @Sendable private func head(_ request: Request, _ context: UserContext) async throws -> Response {
        try Tus.checkVersion(of: request)
        let upload = try await upload(request, context)
        var headers = Self.headers(of: upload)
        headers[.uploadLength] = "\(upload.length)"
        if !upload.metadata.isEmpty { headers[.uploadMetadata] = upload.metadata }
        return Response(status: .ok, headers: headers)
    }

    @Sendable private func patch(_ request: Request, _ context: UserContext) async throws -> Response {
        try Tus.checkVersion(of: request)
        try Tus.checkMediaType(of: request)
        let offset = try Tus.byteCount(.uploadOffset, of: request)
        let upload = try await upload(request, context)
        let after = try await receive(request, into: upload, at: offset, context)
        return Response(status: .noContent, headers: Self.headers(of: after))
    }

    @Sendable private func delete(_ request: Request, _ context: UserContext) async throws -> Response {
        try Tus.checkVersion(of: request)
        guard let reading = try await uploads.uploadToEnd(try Self.id(context, request), as: context.claims.principal)
        else { throw Problem.noUpload.closing(request) }
        let upload = reading.upload
        guard try await isOpen(reading, context.logger) else { throw Problem.uploadGone.closing(request) }
        try await form.recorder.admit(context, to: .endUpload, session: upload.session, patient: upload.patient)
        guard try await end(upload, because: "The upload was cancelled.", context.logger) else {
            throw Problem.uploadGone.closing(request)
        }
        return Response(status: .noContent, headers: [.cacheControl: "no-store"])
    }

    // MARK: - Parts of several routes

    /// Runs a handler, and reads the rest of a body that it refuses.
    ///
    /// A server that stops does not wait for that.
    private func readingRest(
        _ context: UserContext, _ handler: () async throws -> Response
    ) async throws -> Response {
        try await form.readingRest(
            context, upTo: settings.maximumBytes, unless: { $0.kind == .unavailable }, handler)
    }

    static func id(_ context: UserContext, _ request: Request) throws(Problem) -> UploadID {
        guard let id = context.parameters.get("id").flatMap({ UploadID($0) }) else {
            throw Problem.invalid("id", "is not a UUID.").closing(request)
        }
        return id
    }

    static func path(of id: UploadID) -> String { "\(TusVersion.path)/\(id)" }

    /// The headers that every answer about an upload has.
    private static func headers(of upload: ResumableUpload) -> HTTPFields {
        var headers: HTTPFields = [.uploadOffset: "\(upload.offset)", .cacheControl: "no-store"]
        if upload.state == .complete {
            headers[.contentLocation] = "/api/sessions/\(upload.session)"
        } else {
            headers[.uploadExpires] = HTTPDate.text(upload.expiresAt.date)
        }
        return headers
    }

    /// The upload of a request, which records the access.
    ///
    /// - Throws: 404 if there is none, or it is another user's, or the user may no longer upload for the patient; 410 if it has ended.
    private func upload(_ request: Request, _ context: UserContext) async throws -> ResumableUpload {
        let id = try Self.id(context, request)
        // All bytes may be there, and the database may not know it yet.
        await form.entries.enterReceipts(with: id.description)
        guard let reading = try await uploads.upload(id, as: context.claims.principal) else {
            throw Problem.noUpload.closing(request)
        }
        try await form.recorder.admit(
            context, to: .resumeUpload, session: reading.upload.session, patient: reading.upload.patient)
        if reading.upload.state(at: reading.now) == .complete { return reading.upload }
        guard try await isOpen(reading, context.logger) else { throw Problem.uploadGone.closing(request) }
        return reading.upload
    }

    /// True if an upload waits for bytes.
    ///
    /// An upload whose time is over is ended now: the watchers of its session need not wait for the janitor.
    private func isOpen(_ reading: UploadStore.Reading, _ logger: Logger) async throws -> Bool {
        let (upload, state) = (reading.upload, reading.upload.state(at: reading.now))
        if upload.state == .open, state == .ended {
            try await expire(upload, logger)
        }
        return state == .open
    }

    /// Ends an upload whose time is over.
    func expire(_ upload: ResumableUpload, _ logger: Logger) async throws {
        guard try await uploads.expire(upload.id) > 0 else { return }
        metrics.expired.increment()
        await removeParts(of: upload.id, logger)
    }

    /// Receives the bytes of a request.
    ///
    /// - Returns: The upload afterwards.
    /// - Throws: A ``Problem``; the error of the connection or the database.
    private func receive(
        _ request: Request, into upload: ResumableUpload, at offset: Int64, _ context: UserContext
    ) async throws -> ResumableUpload {
        let checksum = try UploadChecksum(of: request)
        let announced = request.headers[.contentLength].flatMap { Int64($0) }
        guard offset <= upload.length, (announced ?? 0) <= upload.length - offset else {
            throw offset > upload.length
                ? Problem.wrongOffset(upload.offset).closing(request)
                : Problem(.tooLarge, "The upload has \(upload.length) bytes, and this request brings more.").closing(
                    request)
        }
        let patch = UploadPatch(
            route: self, context: context, id: upload.id, offset: offset, length: upload.length,
            announced: announced ?? upload.length - offset, isEmpty: !request.hasBody, checksum: checksum)
        return try await patch.run(request)
    }

    /// Ends an upload: its session fails with a reason, and its bytes are removed.
    ///
    /// - Returns: False if the session no longer waits for the upload.
    func end(_ upload: ResumableUpload, because reason: String, _ logger: Logger) async throws -> Bool {
        // A trigger ends the upload with its session.
        let isEnded = try await form.progress.reportUpload(
            upload.id.rawValue, of: upload.session, status: .failed, progress: 0, error: reason)
        await removeParts(of: upload.id, logger)
        return isEnded
    }

    /// Removes the bytes of an upload that needs them no more.
    func removeParts(of id: UploadID, _ logger: Logger) async {
        let key = form.recordings.partsKey(of: id.description)
        await form.remove(ExpectedRecording(upload: id.rawValue, key: key), logger)
    }
}
