import Credentials
import Domain
import HTTPTypes
import Hummingbird
import NIOCore
import Store

/// `GET /api/sessions/{id}/transcript`: the transcript as JSON, text or subtitles, also while it grows.
struct TranscriptRoute: Sendable {
    let gate: SessionGate
    let sessions: SessionStore

    func add(to table: inout RouteTable) {
        table.token(.get, "/api/sessions/:id/transcript", produces: "*/*", transcript)
    }

    @Sendable private func transcript(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        try await gate.authorize(id, for: context, to: .readTranscript)
        let query = request.uri.queryParameters
        let format =
            try query.value("format", "has to be json, txt, vtt or srt.") { TranscriptFormat(rawValue: $0) } ?? .json
        let first = try query.value("from", "has to be the index of a segment, from 0.", Self.index) ?? 0
        try RouteTable.checkAccept(of: request, against: format.mediaType)
        guard let stored = try await sessions.transcript(of: id, as: context.claims.principal) else {
            throw Problem.noTranscript
        }
        let document = try TranscriptDocument(stored)
        // Every form is made of the JSON. Its tag therefore serves them all, and a correction by `If-Match` takes it.
        let headers: HTTPFields = [
            .eTag: document.tag, .cacheControl: "no-store", .contentType: "\(format.mediaType); charset=utf-8",
        ]
        if let known = request.headers[.ifNoneMatch], EntityTags(known).contains(document.tag) {
            return Response(status: .notModified, headers: headers)
        }
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: format.render(document, from: first))))
    }

    /// Reads the index of a segment.
    ///
    /// An index that no integer holds is past the end of every transcript.
    private static func index(_ text: String) -> Int? {
        Int(clampingDigits: text)
    }
}
