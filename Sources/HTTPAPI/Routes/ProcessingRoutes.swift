import Domain
import HTTPTypes
import Hummingbird
import Store

/// The processing of a session, as people direct it: cancel, retry, and why a stage failed.
struct ProcessingRoutes: Sendable {
    let gate: SessionGate
    let sessions: SessionStore
    let progress: ProgressStore

    func add(to table: inout RouteTable) {
        table.token(.post, "/api/sessions/:id/cancel", cancel)
        table.token(.post, "/api/sessions/:id/retry", retry)
        table.token(.get, "/api/sessions/:id/failure", failure)
    }

    @Sendable private func cancel(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        try await gate.authorize(id, for: context, to: .cancel)
        guard let present = try await progress.cancel(id, as: context.claims.principal) else { throw Problem.noSession }
        return JSON.response(raw: JSON.encode(progress: present), status: .accepted)
    }

    @Sendable private func retry(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        try await gate.authorize(id, for: context, to: .retry)
        let again = request.hasBody ? try await JSON.decode(RetryBody.self, from: request).again : false
        guard let present = try await progress.retry(id, again: again, as: context.claims.principal) else {
            throw Problem.noSession
        }
        return JSON.response(raw: JSON.encode(progress: present), status: .accepted)
    }

    @Sendable private func failure(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        try await gate.authorize(id, for: context, to: .readFailure)
        guard let failure = try await sessions.failure(of: id, as: context.claims.principal) else {
            throw Problem(.notFound, "No stage of this session has failed.")
        }
        return JSON.response(FailureBody(failure))
    }

    /// The body of a retry: `{again?}`.
    private struct RetryBody: Decodable {
        /// True if a processed session is processed again, too.
        let again: Bool

        private enum CodingKeys: String, CodingKey, CaseIterable { case again }

        init(from decoder: any Decoder) throws {
            try decoder.refuseMembers(otherThan: CodingKeys.self)
            let container = try decoder.container(keyedBy: CodingKeys.self)
            again = try container.decodeIfPresent(Bool.self, forKey: .again) ?? false
        }
    }

    /// The last words of a stage.
    struct FailureBody: Encodable {
        let attempt: Int
        let stage: String
        let exitStatus: Int?
        let outputTail: String
        let at: Timestamp

        private enum CodingKeys: String, CodingKey {
            case attempt, stage
            case exitStatus = "exit_status"
            case outputTail = "output_tail"
            case at
        }

        init(_ failure: StageFailureRecord) {
            attempt = failure.attempt
            stage = failure.stage
            exitStatus = failure.exitStatus
            outputTail = failure.outputTail
            at = failure.at ?? .now()
        }

        /// A value that is not known is null, and not missing.
        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(attempt, forKey: .attempt)
            try container.encode(stage, forKey: .stage)
            try container.encode(exitStatus, forKey: .exitStatus)
            try container.encode(outputTail, forKey: .outputTail)
            try container.encode(at, forKey: .at)
        }
    }
}
