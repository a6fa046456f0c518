import Credentials
import Domain
import HTTPTypes
import Hummingbird
import Postgres
import Store

/// `PUT /api/sessions/{id}/transcript` and `…/notes`: a pipeline stores a result under its lease.
///
/// `PUT` of the notes by a person is a correction (``CorrectionRoutes``).
struct ResultRoutes: Sendable {
    let gate: SessionGate
    let queue: PipelineStore
    let users: UserStore
    let corrections: CorrectionRoutes
    let largeBodyPace: LargeBodies.Pace
    private let largeBodies = LargeBodies()

    init(
        gate: SessionGate, queue: PipelineStore, users: UserStore, corrections: CorrectionRoutes,
        largeBodyPace: LargeBodies.Pace
    ) {
        self.gate = gate
        self.queue = queue
        self.users = users
        self.corrections = corrections
        self.largeBodyPace = largeBodyPace
    }

    func add(to table: inout RouteTable) {
        table.token(.put, "/api/sessions/:id/transcript", produces: nil) { request, context in
            try await store(request, context, as: .storeTranscript) {
                try await queue.storeTranscript($0, under: $1, as: $2)
            }
        }
        table.token(.put, "/api/sessions/:id/notes", produces: nil) { request, context in
            guard try await isPipeline(context) else { return try await corrections.correctNotes(request, context) }
            return try await store(request, context, as: .storeNotes) {
                try await queue.storeNotes($0, under: $1, as: $2)
            }
        }
    }

    /// True if the caller works on sessions.
    ///
    /// An account that is gone or inactive may get either answer: the gate refuses it.
    ///
    /// - Throws: 422 if the path holds no id; the error of the database.
    private func isPipeline(_ context: TokenContext) async throws -> Bool {
        // A wrong id comes first, as on every route of a session.
        _ = try context.sessionID()
        let account = try await users.account(of: context.claims.user, signIn: context.claims.signIn)
        return account.map { Access.permitsOnAll(.process, to: $0.user.role) } ?? false
    }

    /// Stores the document of a request.
    ///
    /// The right is checked before the body is read, because a body may be large.
    private func store(
        _ request: Request, _ context: TokenContext, as action: AuditAction,
        _ write: (String, PresentedLease, Principal) async throws -> Void
    ) async throws -> Response {
        let id = try context.sessionID()
        try await gate.authorize(id, for: context, to: action)
        try await largeBodies.admitting(request) {
            let body = try await ResultBody.read(
                from: request, onPart: LargeBodies.isLarge(request) ? largeBodyPace.start() : { _ in })
            try await Self.storing {
                try await write(body.document, try body.presented(of: id), context.claims.principal)
            }
        }
        return Response(status: .noContent, headers: [.cacheControl: "no-store"])
    }

    /// Stores a document, and says what is wrong with one that the database cannot store.
    ///
    /// - Throws: 413 or 422 for such a document; every other error of `body`.
    static func storing<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch let error as PostgresError where error.sqlState?.errorClass == "22" && error.constraintName == nil {
            // A value that JSON allows and PostgreSQL cannot store, such as 1e999999.
            throw Problem(.invalid, "The document holds a value that the database cannot store.")
        } catch let error as PostgresError where error.sqlState == .programLimitExceeded && !error.isTransient {
            // "total size of jsonb array elements exceeds the maximum of 268435455 bytes", for example.
            throw Problem(.tooLarge, "The document is too large for the database.")
        }
    }
}
