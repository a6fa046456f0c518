/// Where the server of a test learns of changes: the same promises hold with each source.
enum HintSource: String, CaseIterable, Sendable {
    case notify, poll

    /// The settings of a server that finds changes in time.
    ///
    /// - Parameter interval: The seconds between two polls behind NOTIFY. A source without hints looks five times a
    ///   second, or more often if this is shorter.
    /// - Returns: The settings by name.
    func settings(interval: Double) -> [String: String] {
        let poll = self == .notify ? interval : min(interval, 0.2)
        return ["CHANGE_SOURCE": rawValue, "SSE_UPDATE_INTERVAL": "\(poll)"]
    }
}
