import Domain

/// What the payloads on our channel say.
///
/// Any role of the database can send anything there. What is not understood is worth a resync at most, and costs nothing
/// more: it is never passed on.
enum NotificationPayload {
    /// The channel of all notifications.
    static let channel = "tb_session_v1"

    /// Sorts payloads by what they ask for.
    ///
    /// - Returns: At most one event of each kind; hints of one session are joined to the newest, and a deletion wins.
    static func events(in payloads: some Sequence<String>) -> [ChangeEvent] {
        var versions: [SessionID: Int64] = [:]
        var rightsChanged = false
        var workWaiting = false
        for payload in payloads {
            if payload == "work" {
                workWaiting = true
            } else if payload.hasPrefix("rights ") {
                rightsChanged = true
            } else if let hint = hint(payload) {
                let known = versions[hint.session]
                versions[hint.session] = known == 0 || hint.version == 0 ? 0 : max(known ?? 0, hint.version)
            }
        }
        var events: [ChangeEvent] = []
        if rightsChanged { events.append(.rightsChanged) }
        if !versions.isEmpty { events.append(.hints(versions.map { ChangeHint(session: $0.key, version: $0.value) })) }
        if workWaiting { events.append(.workWaiting) }
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
