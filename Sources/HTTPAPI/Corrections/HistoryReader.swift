import Credentials
import Domain
import NIOCore
import Store

/// Reads the history of a session in parts that fit into memory.
struct HistoryReader: Sendable {
    let sessions: SessionStore

    /// How many bytes of documents the server reads at once, unless one document alone has more.
    static let partBytes: Int64 = 1 << 20

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
    func read(
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
    struct LostEntry: Error, CustomStringConvertible {
        let description = "the history is gone, or the caller may no longer read it"
    }
}
