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

    func add(to table: inout RouteTable) {
        table.token(.get, "/api/sessions/:id/history", history)
    }

    @Sendable private func history(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        try request.uri.queryParameters.allow(only: [])
        try await gate.authorize(id, for: context, to: .readHistory)
        let principal = context.claims.principal
        let reader = HistoryReader(sessions: sessions)
        let parts = HistoryReader.parts(of: try await sessions.history(of: id, as: principal))
        // The server reads the first part before it sends the head, while an error can still change the status.
        var first = ByteBuffer(string: #"{"items":["#)
        if let part = parts.first { first.writeBytes(try await reader.read(part, of: id, for: principal)) }
        guard parts.count > 1 else {
            first.writeString("]}")
            return JSON.response(raw: first)
        }
        let body = ResponseBody { [first, logger = context.logger] writer in
            do {
                try await writer.write(first)
                for part in parts.dropFirst() {
                    let bytes = try await reader.read(part, of: id, for: principal)
                    try await writer.write(ByteBuffer(bytes: [UInt8(ascii: ",")] + bytes))
                }
            } catch let error as HistoryReader.LostEntry {
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
}
