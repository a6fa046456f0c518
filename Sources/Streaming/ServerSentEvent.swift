public import Domain
import DurationUnits

/// Makes the blocks of a stream of events, each as the bytes of one whole block, and the field `retry:`.
///
/// WHATWG HTML, 9.2.6: a client dispatches an event at its blank line, and "if the file ends in the middle of an event,
/// before the final empty line, the incomplete event is not dispatched". A block is therefore always written whole.
public enum ServerSentEvent: CaseloadEncoding {
    /// Makes the field `retry:`.
    ///
    /// It begins the block of the next event. Some clients hand on a block without an event as an empty one. At the end of a
    /// stream, the field stands alone: WHATWG HTML, 9.2.6: a client obeys a field as soon as it has the line.
    ///
    /// - Parameter delay: How long the client waits before it reconnects.
    /// - Returns: The line.
    public static func retry(_ delay: Duration) -> [UInt8] {
        Array("retry: \(delay.whole(.milliseconds))\n".utf8)
    }

    /// A comment that shows that the connection is alive.
    public static let heartbeat = Array(": heartbeat\n\n".utf8)

    /// Makes the event for the present state of a session.
    ///
    /// - Parameter progress: The state. Its version becomes the event's `id:`.
    /// - Returns: The block.
    public static func state(_ progress: SessionProgress) -> [UInt8] {
        event(progress.eventName, id: String(progress.version), of: progress)
    }

    /// Makes the event for a transition before the present state.
    ///
    /// Such an event never ends a stream. A `failed` that was retried since is therefore a `progress` event.
    ///
    /// - Parameter progress: The state after the transition.
    /// - Returns: The block.
    public static func passed(_ progress: SessionProgress) -> [UInt8] {
        event("progress", id: String(progress.version), of: progress)
    }

    /// Makes an event of the stream of all sessions.
    ///
    /// - Parameters:
    ///   - progress: The state of a session.
    ///   - id: The position up to which the client has everything after this event; nil if there is none.
    ///   - name: The event's name; nil for the name that belongs to the state.
    /// - Returns: The block.
    public static func caseload(_ progress: SessionProgress, id: String?, name: String? = nil) -> [UInt8] {
        event(name ?? progress.eventName, id: id, of: progress)
    }

    /// Makes the event for a session that was deleted, or that the follower may no longer see.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - id: The position up to which the client has everything after this event; nil if there is none.
    /// - Returns: The block.
    public static func removed(_ session: SessionID, id: String?) -> [UInt8] {
        block("session_removed", id: id, data: "{\"session_id\":\"\(session)\"}")
    }

    /// Makes the event after which the client has the whole caseload.
    ///
    /// - Parameter id: The position up to which the client has everything; nil if there is none.
    /// - Returns: The block.
    public static func ready(id: String?) -> [UInt8] { block("ready", id: id, data: "{}") }

    /// Makes the last event for a client whose right was revoked.
    ///
    /// - Parameter session: The session; nil in the stream of all sessions.
    /// - Returns: The block.
    public static func revoked(_ session: SessionID?) -> [UInt8] { ending("revoked", session) }

    /// Makes the last event for a client whose access token expired.
    ///
    /// - Parameter session: The session; nil in the stream of all sessions.
    /// - Returns: The block.
    public static func expired(_ session: SessionID?) -> [UInt8] { ending("expired", session) }

    /// Reads from the database fail; the stream stays open.
    public static let degraded = Array("event: degraded\ndata: {}\n\n".utf8)

    /// Reads from the database work again; the missed changes follow.
    public static let recovered = Array("event: recovered\ndata: {}\n\n".utf8)

    /// The server cannot serve the stream now; the client reconnects by itself.
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
