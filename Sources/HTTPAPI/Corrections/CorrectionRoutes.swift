import Credentials
import Domain
import HTTPTypes
import Hummingbird
import Store

/// Corrections of a final transcript and of notes by people.
///
/// A correction names the state that its author has seen by `If-Match`. Therefore nobody overwrites the correction of somebody
/// else unseen. `PUT` of the notes comes here from ``ResultRoutes``, which serves pipelines on the same path.
struct CorrectionRoutes: Sendable {
    /// The greatest size of a body in bytes.
    ///
    /// Such a body has no need to be counted by ``LargeBodies``.
    static let maximumBytes = LargeBodies.smallBytes
    /// The maximum number of values in a body: a correction of more than 60,000 segments.
    static let maximumValues = 200_000

    let gate: SessionGate
    let sessions: SessionStore

    func add(to table: inout RouteTable) {
        table.token(.patch, "/api/sessions/:id/transcript", produces: nil, correctTranscript)
    }

    @Sendable private func correctTranscript(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        try await gate.authorize(id, for: context, to: .correctTranscript)
        let expected = try request.statesToChange()
        let body = try await JSON.decode(
            TranscriptCorrectionBody.self, from: request, limit: Self.maximumBytes, maximumValues: Self.maximumValues)
        let corrected = try await ResultRoutes.storing {
            try await sessions.correctTranscript(of: id, as: context.claims.principal) { present in
                guard let present else { throw Problem.noTranscript }
                guard present.isFinal else {
                    throw Problem(.conflict, "The transcript still grows. Correct it when it is final.")
                }
                let document = try TranscriptDocument(present)
                guard expected.containsStrongly(document.tag) else { throw Problem.changedSince }
                return try body.corrections(of: document.count)
            }
        }
        guard let corrected else { throw Problem.noSession }
        return Self.done(try TranscriptDocument(corrected).tag)
    }

    /// Replaces the notes by those of a person.
    func correctNotes(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        try await gate.authorize(id, for: context, to: .correctNotes)
        let expected = try request.statesToChange()
        let body = try await JSON.body(
            of: request, limit: Self.maximumBytes, maximumValues: Self.maximumValues)
        let text = Array(body.readableBytesView)
        _ = try ResultBody.members(of: text)
        let isCorrected = try await sessions.correctNotes(of: id, as: context.claims.principal) { present in
            guard let present else { throw Problem.noNotes }
            guard expected.containsStrongly(EntityTags.strong(of: Array(present.utf8))) else {
                throw Problem.changedSince
            }
            return String(decoding: text, as: UTF8.self)
        }
        guard isCorrected else { throw Problem.noSession }
        return Self.done(EntityTags.strong(of: text))
    }

    /// The answer to a correction, with the tag of the state that it has made.
    ///
    /// RFC 9110, 9.3.4: an answer to `PUT` may have a tag if the content was "saved without any transformation".
    private static func done(_ tag: String) -> Response {
        Response(status: .noContent, headers: [.eTag: tag, .cacheControl: "no-store"])
    }
}

extension Request {
    /// The states that the client has seen and wants to change: the tags of `If-Match`.
    ///
    /// - Throws: 415 if the correction is not declared as JSON; 428 without a tag. A `*` would overwrite what the client has not
    ///   seen, and counts as none.
    fileprivate func statesToChange() throws(Problem) -> EntityTags {
        try JSON.requireType(of: self)
        guard let tags = headers[.ifMatch].map({ EntityTags($0) }), tags.namesAState else {
            throw Problem(.preconditionRequired, "Send If-Match with the ETag of what you have read.")
        }
        return tags
    }
}

extension Problem {
    /// The session has neither a transcript nor a segment.
    static let noTranscript = Problem(.notFound, "There is no transcript of this session yet.")
    /// The session has no notes.
    static let noNotes = Problem(.notFound, "There are no notes on this session yet.")
    /// `If-Match` names another state.
    fileprivate static let changedSince = Problem(
        .preconditionFailed, "This has changed since you read it. Read it again, and repeat your correction.")
}
