public import Domain
import DurationUnits

/// What a stream of events may carry, each as the bytes of one whole block.
///
/// WHATWG HTML, 9.2.6: an event is dispatched at its blank line, and "if the file ends in the middle of an event, before
/// the final empty line, the incomplete event is not dispatched". So a block is always written whole.
public enum ServerSentEvent {
    /// The field that sets how long a client waits before it reconnects.
    public static func retry(_ delay: Duration) -> [UInt8] {
        Array("retry: \(delay.whole(.milliseconds))\n\n".utf8)
    }

    /// A comment that keeps the connection from looking dead.
    public static let heartbeat = Array(": heartbeat\n\n".utf8)

    /// The state of a session as it stands.
    ///
    /// - Parameter progress: Its version becomes the event's `id:`.
    public static func state(_ progress: SessionProgress) -> [UInt8] {
        event(name(of: progress), id: String(progress.version), of: progress)
    }

    private static func name(of progress: SessionProgress) -> String {
        switch progress.status {
        case .processed: "complete"
        case .failed: "error"
        default: "progress"
        }
    }

    /// A transition that lies behind the present state.
    ///
    /// It never ends a stream, so a `failed` that was retried since goes out as `progress`.
    public static func passed(_ progress: SessionProgress) -> [UInt8] {
        event("progress", id: String(progress.version), of: progress)
    }

    /// An event of the stream of all sessions.
    ///
    /// - Parameters:
    ///   - id: The position up to which everything is said with it; nil where none is known.
    ///   - name: Nil for the name that the state has.
    public static func caseload(_ progress: SessionProgress, id: String?, name: String? = nil) -> [UInt8] {
        event(name ?? Self.name(of: progress), id: id, of: progress)
    }

    /// A session was deleted, or taken away from the watcher.
    public static func removed(_ session: SessionID, id: String?) -> [UInt8] {
        block("session_removed", id: id, data: "{\"session_id\":\"\(session)\"}")
    }

    /// Everything that there is at present has been said.
    public static func ready(id: String?) -> [UInt8] { block("ready", id: id, data: "{}") }

    /// The last word to a watcher who lost the right to see the session.
    public static func revoked(_ session: SessionID?) -> [UInt8] { ending("revoked", session) }

    /// The last word to a watcher whose access token expired.
    public static func expired(_ session: SessionID?) -> [UInt8] { ending("expired", session) }

    /// Reads from the database fail at present; the stream stays open.
    public static let degraded = Array("event: degraded\ndata: {}\n\n".utf8)

    /// Reads from the database work again; what was missed follows.
    public static let recovered = Array("event: recovered\ndata: {}\n\n".utf8)

    /// The stream cannot be served now; the client comes back by itself.
    public static let unavailable = Array("event: unavailable\ndata: {}\n\n".utf8)

    private static func event(_ name: String, id: String?, of progress: SessionProgress) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(512)
        if let id {
            bytes.append(utf8: "id: ")
            bytes.append(utf8: id)
            bytes.append(utf8: "\n")
        }
        bytes.append(utf8: "event: ")
        bytes.append(utf8: name)
        bytes.append(utf8: "\ndata: ")
        appendJSON(progress, to: &bytes)
        bytes.append(utf8: "\n\n")
        return bytes
    }

    private static func ending(_ name: String, _ session: SessionID?) -> [UInt8] {
        block(name, id: nil, data: session.map { "{\"session_id\":\"\($0)\"}" } ?? "{}")
    }

    private static func block(_ name: String, id: String?, data: String) -> [UInt8] {
        Array(((id.map { "id: \($0)\n" } ?? "") + "event: \(name)\ndata: \(data)\n\n").utf8)
    }
}
