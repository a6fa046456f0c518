import Domain
import FoundationEssentials
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Recordings
import Store

/// The sessions, with their progress and results: `/api/sessions`.
struct SessionRoutes: Sendable {
    let gate: SessionGate
    let recorder: AccessRecorder
    let sessions: SessionStore
    let progress: ProgressStore
    let users: UserStore
    let recordings: RecordingStore

    func add(to table: inout RouteTable) {
        table.user(.get, "/api/sessions", list)
        table.token(.get, "/api/sessions/:id", session)
        table.token(.patch, "/api/sessions/:id", change)
        table.token(.delete, "/api/sessions/:id", produces: nil, delete)
        table.token(.get, "/api/sessions/:id/status", status)
        table.token(.get, "/api/sessions/:id/events", events)
        table.token(.get, "/api/sessions/:id/notes", notes)
    }

    @Sendable private func list(_ request: Request, _ context: UserContext) async throws -> Response {
        let (filter, limit) = try Self.filter(request)
        var isAllowed = true
        if let patient = filter.patient {
            isAllowed = try await users.acting(as: context.claims.principal).may(.see, sessionsOf: patient)
        }
        try await recorder.admit(
            context, to: .listSessions, if: isAllowed, patient: filter.patient,
            else: Problem(.forbidden, "You may not see the sessions of this patient."))
        let found = try await sessions.list(as: context.claims.principal, filter)
        var page = Page(found.sessions, limit: limit) {
            SessionStore.Cursor(after: $0, in: filter.order).description
        }
        page.counts = found.counts
        let body = JSON.encode(page)
        // A client that polls gets 304 while nothing in its list has changed.
        let headers: HTTPFields = [.eTag: EntityTags.strong(of: body.readableBytesView)]
        if let known = request.headers[.ifNoneMatch], EntityTags(known).contains(headers[.eTag] ?? "") {
            return Response(status: .notModified, headers: headers)
        }
        return JSON.response(raw: body, headers: headers)
    }

    private static let parameters: Set<Substring> = [
        "status", "patient_id", "q", "from", "to", "sort", "limit", "cursor",
    ]

    private static func filter(_ request: Request) throws -> (SessionStore.Filter, limit: Int) {
        let query = request.uri.queryParameters
        try query.allow(only: parameters)
        let limit = try query.pageLimit()
        // One item more than the page has shows whether there is a next page.
        var filter = SessionStore.Filter(limit: limit + 1)
        filter.order =
            try query.value("sort", "has to be created_at or session_date.") { SessionStore.Order(rawValue: $0) }
            ?? .createdAt
        filter.statuses = try query.value("status", "is not a known status, or several, separated by commas.") { text in
            let names = text.split(separator: ",", omittingEmptySubsequences: false)
            let statuses = names.compactMap { SessionStatus(rawValue: String($0)) }
            return statuses.count == names.count ? Set(statuses) : nil
        }
        filter.patient = try query.value("patient_id", "is not a UUID.") { UserID($0) }
        filter.text = try query.searchText()
        filter.from = try query.time("from")
        filter.to = try query.time("to")
        let cursor = try query.cursor { SessionStore.Cursor($0) }
        if let cursor, cursor.order != filter.order {
            throw Problem.invalid("cursor", "is of a list with sort=\(cursor.order.rawValue). Send that, too.")
        }
        filter.after = cursor?.position
        return (filter, limit)
    }

    @Sendable private func session(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        try await gate.authorize(id, for: context, to: .readSession)
        guard let session = try await sessions.session(id, as: context.claims.principal) else {
            throw Problem.noSession
        }
        return JSON.response(session)
    }

    @Sendable private func change(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        try await gate.authorize(id, for: context, to: .changeSession)
        let change = try await JSON.decode(SessionChangeBody.self, from: request).change
        guard let session = try await sessions.change(id, change, as: context.claims.principal) else {
            throw Problem.noSession
        }
        return JSON.response(session)
    }

    @Sendable private func delete(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        try await gate.authorize(id, for: context, to: .delete)
        let key = try await sessions.recording(of: id, as: context.claims.principal)?.key
        guard try await sessions.delete(id, as: context.claims.principal) else { throw Problem.noSession }
        if let key {
            await RecordingRemover(sessions: sessions, recordings: recordings).remove(key, context.logger)
        }
        return Response(status: .noContent, headers: [.cacheControl: "no-store"])
    }

    @Sendable private func status(_ request: Request, _ context: TokenContext) async throws -> Response {
        let progress = try await gate.authorize(try context.sessionID(), for: context, to: .readStatus)
        // The version identifies the state, which is the same for every user who may see it.
        let etag = "\"\(progress.version)\""
        let headers: HTTPFields = [.eTag: etag, .cacheControl: "private, no-cache"]
        if let known = request.headers[.ifNoneMatch], EntityTags(known).contains(etag) {
            return Response(status: .notModified, headers: headers)
        }
        return JSON.response(raw: JSON.encode(progress: progress), headers: headers)
    }

    @Sendable private func events(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        try request.uri.queryParameters.allow(only: [])
        try await gate.authorize(id, for: context, to: .readEvents)
        return JSON.response(Items(items: try await progress.transitions(of: id, as: context.claims.principal)))
    }

    /// Answers with the notes in their stored form.
    @Sendable private func notes(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        try await gate.authorize(id, for: context, to: .readNotes)
        guard let json = try await sessions.notes(of: id, as: context.claims.principal) else {
            throw Problem.noNotes
        }
        let body = ByteBuffer(string: json)
        let headers: HTTPFields = [.eTag: EntityTags.strong(of: body.readableBytesView)]
        if let known = request.headers[.ifNoneMatch], EntityTags(known).contains(headers[.eTag] ?? "") {
            return Response(status: .notModified, headers: headers)
        }
        return JSON.response(raw: body, headers: headers)
    }
}
