public import Domain

/// A form for the events of all sessions: Server-Sent Events, or frames of a WebSocket.
public protocol CaseloadEncoding {
    /// Makes the event for the state of a session.
    ///
    /// - Parameters:
    ///   - progress: The state of a session.
    ///   - id: The position up to which the client has everything after this event; nil if there is none.
    ///   - name: The event's name; nil for the name that belongs to the state.
    /// - Returns: The bytes.
    static func caseload(_ progress: SessionProgress, id: String?, name: String?) -> [UInt8]

    /// Makes the event for a session that was deleted, or that the follower may no longer see.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - id: The position up to which the client has everything after this event; nil if there is none.
    /// - Returns: The bytes.
    static func removed(_ session: SessionID, id: String?) -> [UInt8]

    /// Makes the event after which the client has the whole caseload.
    ///
    /// - Parameter id: The position up to which the client has everything; nil if there is none.
    /// - Returns: The bytes.
    static func ready(id: String?) -> [UInt8]
}

extension SessionProgress {
    /// The name of the event for this state.
    var eventName: String {
        switch status {
        case .processed: "complete"
        case .failed: "error"
        default: "progress"
        }
    }
}

/// The texts of a WebSocket of all sessions: `{"event", "id", "data"}`.
extension WebSocketFrame: CaseloadEncoding {
    /// Makes the frame for the state of a session.
    ///
    /// - Parameters:
    ///   - progress: The state of a session.
    ///   - id: The position up to which the client has everything after this event; nil if there is none.
    ///   - name: The event's name; nil for the name that belongs to the state.
    /// - Returns: The frame.
    public static func caseload(_ progress: SessionProgress, id: String?, name: String?) -> [UInt8] {
        event(name ?? progress.eventName, id: id) { appendJSON(progress, to: &$0) }
    }

    /// Makes the frame for a session that was deleted, or that the follower may no longer see.
    ///
    /// - Parameters:
    ///   - session: The session.
    ///   - id: The position up to which the client has everything after this event; nil if there is none.
    /// - Returns: The frame.
    public static func removed(_ session: SessionID, id: String?) -> [UInt8] {
        event("session_removed", id: id) { $0.append(utf8: "{\"session_id\":\"\(session)\"}") }
    }

    /// Makes the frame after which the client has the whole caseload.
    ///
    /// - Parameter id: The position up to which the client has everything; nil if there is none.
    /// - Returns: The frame.
    public static func ready(id: String?) -> [UInt8] { event("ready", id: id) { $0.append(utf8: "{}") } }

    /// Reads from the database fail; the WebSocket stays open.
    public static let degraded = event("degraded", id: nil) { $0.append(utf8: "{}") }

    /// Reads from the database work again; the missed changes follow.
    public static let recovered = event("recovered", id: nil) { $0.append(utf8: "{}") }

    private static func event(_ name: String, id: String?, appendData: (inout [UInt8]) -> Void) -> [UInt8] {
        var json: [UInt8] = []
        json.reserveCapacity(640)
        json.append(utf8: "{\"event\":\"")
        json.append(utf8: name)
        json.append(utf8: "\",\"id\":")
        appendJSON(id, to: &json)
        json.append(utf8: ",\"data\":")
        appendData(&json)
        json.append(utf8: "}")
        return frame(.text, json)
    }
}
