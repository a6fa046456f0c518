import Credentials
import Domain
import HTTPTypes
import Hummingbird
import Logging
import Polling
import Postgres
import Recordings
import Store

/// `GET /api/sessions/{id}/recording`: the audio, whole or in part, as players request it.
struct RecordingRoute: Sendable {
    let gate: SessionGate
    let users: UserStore
    let sessions: SessionStore
    let recordings: RecordingStore
    let clock: any MonotonicClock

    func add(to table: inout RouteTable) {
        table.token(.get, "/api/sessions/:id/recording", produces: "*/*", recording)
    }

    @Sendable private func recording(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        let lease = try await lease(in: request, context)
        try await gate.authorize(id, for: context, to: .hearRecording, needing: lease == nil ? nil : .process)
        let found = try await reference(of: id, under: lease, for: context.claims.principal)
        if lease != nil, found == nil { throw Problem(.conflict, SchemaRefusal.leaseNotStanding.template) }
        guard let reference = found, let file = try await recordings.open(key: reference.key) else {
            throw Problem(.notFound, "There is no recording of this session.")
        }

        let validators = Validators(of: reference)
        var headers: HTTPFields = [
            .contentType: reference.format?.mediaType ?? "application/octet-stream",
            .acceptRanges: "bytes", .cacheControl: "private, no-store",
            // A client uploaded these bytes. No browser should take them for a page.
            .xContentTypeOptions: "nosniff",
            .contentDisposition: ContentDisposition.attachment(
                RecordingName.forDownload(reference.filename, format: reference.format)),
            .lastModified: validators.lastModified,
        ]
        headers[.eTag] = validators.tag
        if validators.areCurrent(in: request) { return Response(status: .notModified, headers: headers) }
        let range: Range<Int64>
        var status = HTTPResponse.Status.ok
        // RFC 9110, 14.2: "GET is the only method". An `If-Range` that does not match gets the whole file (13.1.5).
        let isRangeMeant = request.method == .get && validators.match(ifRange: request.headers[.ifRange])
        switch ByteRange(isRangeMeant ? request.headers[.range] : nil, of: file.byteCount) {
        case .whole:
            range = 0..<file.byteCount
        case .part(let part):
            range = part
            status = .partialContent
            headers[.contentRange] = "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(file.byteCount)"
        case .unsatisfiable:
            var problem = Problem(.noSuchRange, "The recording has \(file.byteCount) bytes.")
            problem.headers[.contentRange] = "bytes */\(file.byteCount)"
            throw problem
        }
        // Reads the file once before the head is sent, while an error can still change the status.
        try await file.check(from: range.lowerBound)
        let principal = context.claims.principal
        let body = ResponseBody(contentLength: Int(range.count)) { [logger = context.logger] writer in
            var confirmation = RightConfirmation(by: clock)
            do {
                try await file.read(range) { bytes in
                    try await confirmation.ifDue {
                        try await confirm(reference.key, of: id, under: lease, for: principal)
                    }
                    try await writer.write(bytes)
                }
            } catch {
                // The head has gone. The only way to report the error is to end the connection before the declared
                // length. Other errors are those of a client that has gone.
                switch error {
                case is RecordingError: logger.error("recording broken off", metadata: ["error": "\(error)"])
                case is LostRight, is PostgresError:
                    logger.notice("recording broken off", metadata: ["error": "\(error)"])
                default: break
                }
                throw error
            }
            try await writer.finish(nil)
        }
        return Response(status: status, headers: headers, body: body)
    }

    /// The lease of a pipeline, in the header `Pipeline-Lease`; nil without the header, and for every other caller.
    private func lease(in request: Request, _ context: TokenContext) async throws -> LeaseToken? {
        guard let text = request.headers[.pipelineLease] else { return nil }
        let account = try await users.account(of: context.claims.user, signIn: context.claims.signIn)
        // The gate refuses an account that is gone or inactive.
        guard let account, Access.permitsOnAll(.process, to: account.user.role) else { return nil }
        return LeaseToken(text)
    }

    /// The recording of a session, for a pipeline by its lease.
    private func reference(
        of session: SessionID, under lease: LeaseToken?, for principal: Principal
    ) async throws -> RecordingReference? {
        guard let lease else { return try await sessions.recording(of: session, as: principal) }
        return try await sessions.recording(of: session, under: lease, as: principal)
    }

    /// Asks whether the caller may still hear the recording.
    ///
    /// - Throws: ``LostRight`` if the caller may not; the error of the database, which also ends the download.
    private func confirm(
        _ key: String, of session: SessionID, under lease: LeaseToken?, for principal: Principal
    ) async throws {
        let reference = try await reference(of: session, under: lease, for: principal)
        guard reference?.key == key else {
            throw LostRight(description: "the caller may no longer hear the recording")
        }
    }
}
