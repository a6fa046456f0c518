import Credentials
import Domain
import Hummingbird
import Logging
import NIOCore
import Store

/// `GET /api/sessions/{id}/history`: the earlier final transcripts and notes, newest first.
///
/// The whole history may be larger than the memory of the server. The server reads and sends it in parts.
struct HistoryRoute: Sendable {
    let gate: SessionGate
    let sessions: SessionStore

    /// How many bytes of documents the server reads at once, unless one document alone has more.
    static let partBytes: Int64 = 1 << 20

    func add(to table: inout RouteTable) {
        table.token(.get, "/api/sessions/:id/history", history)
    }

    @Sendable private func history(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        try request.uri.queryParameters.allow(only: [])
        try await gate.authorize(id, for: context, to: .readHistory)
        let principal = context.claims.principal
        let parts = Self.parts(of: try await sessions.history(of: id, as: principal))
        // The server reads the first part before it sends the head, while an error can still change the status.
        var first = ByteBuffer(string: #"{"items":["#)
        if let part = parts.first { first.writeBytes(try await read(part, of: id, for: principal)) }
        guard parts.count > 1 else {
            first.writeString("]}")
            return JSON.response(raw: first)
        }
        let body = ResponseBody { [first, logger = context.logger] writer in
            do {
                try await writer.write(first)
                for part in parts.dropFirst() {
                    let bytes = try await read(part, of: id, for: principal)
                    try await writer.write(ByteBuffer(bytes: [UInt8(ascii: ",")] + bytes))
                }
            } catch let error as LostEntry {
                // The head has gone. The only way to report the error is to end the connection before the end of the JSON.
                logger.notice("history broken off", metadata: ["error": "\(error)"])
                throw error
            }
            try await writer.write(ByteBuffer(string: "]}"))
            try await writer.finish(nil)
        }
        return Response(
            status: .ok, headers: [.contentType: "application/json; charset=utf-8", .cacheControl: "no-store"],
            body: body)
    }

    /// Divides a history into parts that fit into memory.
    static func parts(of keys: [EarlierResult.Key]) -> [[EarlierResult.Key]] {
        var parts: [[EarlierResult.Key]] = []
        var bytes: Int64 = 0
        for key in keys {
            if parts.isEmpty || bytes + key.bytes > partBytes {
                parts.append([])
                bytes = 0
            }
            parts[parts.count - 1].append(key)
            bytes += key.bytes
        }
        return parts
    }

    /// Reads a part of the history as JSON objects with commas between them.
    ///
    /// This is no new access: it leaves no record in the audit log. The database checks the right again.
    ///
    /// - Throws: ``LostEntry`` if the caller may no longer read the history; the error of the database.
    private func read(
        _ part: [EarlierResult.Key], of session: SessionID, for principal: Principal
    ) async throws -> [UInt8] {
        let results = try await sessions.history(part, of: session, as: principal)
        guard results.count == part.count else { throw LostEntry() }
        var bytes: [UInt8] = []
        for result in results {
            if !bytes.isEmpty { bytes.append(UInt8(ascii: ",")) }
            // `{…}` without its last bracket.
            bytes += JSON.encode(Facts(result)).readableBytesView.dropLast()
            bytes += #","content":"#.utf8
            bytes += result.content.utf8
            bytes.append(UInt8(ascii: "}"))
        }
        return bytes
    }

    /// The members of an entry, without its content.
    private struct Facts: Encodable {
        let kind: String
        let at: Timestamp
        let by: UserID?
        let attempt: Int

        private enum CodingKeys: String, CodingKey { case kind, at, by, attempt }

        init(_ result: EarlierResult) {
            (kind, at, by, attempt) = (result.kind, result.replacedAt, result.replacedBy, result.attempt)
        }

        /// A user who is not known is null, and not missing.
        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(kind, forKey: .kind)
            try container.encode(at, forKey: .at)
            try container.encode(by, forKey: .by)
            try container.encode(attempt, forKey: .attempt)
        }
    }

    /// An entry of the history is gone: the session was deleted, or the caller has lost the right to read it.
    private struct LostEntry: Error, CustomStringConvertible {
        let description = "the history is gone, or the caller may no longer read it"
    }
}
