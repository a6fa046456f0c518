import Domain

/// Where a client says it left off: the version in `Last-Event-ID`, held against the present one.
public enum Resumption: Equatable, Sendable {
    /// The client has seen nothing, or says something that cannot be: it starts with the present state.
    case fresh
    /// The client has seen everything up to this version.
    case after(Int64)

    /// Reads what a client sent.
    ///
    /// - Parameters:
    ///   - text: The header's or the query's value; nil when there is none.
    ///   - presentVersion: The session's version now. An id beyond it counts as none: it may stem from another
    ///     database, and would silence the stream until the version caught up.
    public init(lastEventID text: String?, presentVersion: Int64) {
        if let version = Self.version(text), version <= presentVersion {
            self = .after(version)
        } else {
            self = .fresh
        }
    }

    /// The version that a client names, whether or not there has been such a one; nil when it names none.
    public static func version(_ text: String?) -> Int64? {
        guard let text, let version = Int64(digits: text), version >= 1 else { return nil }
        return version
    }
}
