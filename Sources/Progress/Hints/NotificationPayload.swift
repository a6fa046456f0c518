import Domain
import Store

/// The payloads of notifications.
///
/// Any role of the database can send any payload. The server ignores a payload that it does not understand.
enum NotificationPayload {
    /// The channel of all notifications.
    static let channel = "tb_session_v1"

    /// Parses payloads.
    ///
    /// - Parameter payloads: The payloads, in the order of their arrival.
    /// - Returns: At most one event of each kind. The hints of one session are merged into the newest; a deletion wins.
    static func events(in payloads: some Sequence<String>) -> [ChangeEvent] {
        var versions: [SessionID: Int64] = [:]
        var rightsChanged = false
        var workWaiting = false
        var webhooksWaiting = false
        for payload in payloads {
            if payload == "work" {
                workWaiting = true
            } else if payload == "webhooks" {
                webhooksWaiting = true
            } else if payload == "rights" {
                rightsChanged = true
            } else if let hint = hint(payload) {
                versions.merge(hintOf: hint.session, hint.version)
            }
        }
        var events: [ChangeEvent] = []
        if rightsChanged { events.append(.rightsChanged) }
        if !versions.isEmpty { events.append(.hints(versions.map { ChangeHint(session: $0.key, version: $0.value) })) }
        if workWaiting { events.append(.workWaiting) }
        if webhooksWaiting { events.append(.webhooksWaiting) }
        return events
    }

    private static func hint(_ payload: String) -> ChangeHint? {
        let parts = payload.split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count == 2, let session = SessionID(String(parts[0])),
            let version = Int64(digits: parts[1])
        else { return nil }
        return ChangeHint(session: session, version: version)
    }
}
