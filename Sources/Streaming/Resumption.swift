import Domain

/// Where a client left off: the version in `Last-Event-ID`, compared with the present one.
public enum Resumption: Equatable, Sendable {
    /// The client has no usable version and starts with the present state.
    case fresh
    /// The client has received everything up to this version.
    case after(Int64)

    /// Compares the version that a client has with the present one.
    ///
    /// - Parameters:
    ///   - version: The version that the client sent; nil if there is none.
    ///   - presentVersion: The session's version now. A greater version counts as none: it may come from another
    ///     database, and the stream would stay silent until the session reached it.
    public init(after version: Int64?, presentVersion: Int64) {
        if let version, version <= presentVersion {
            self = .after(version)
        } else {
            self = .fresh
        }
    }

    /// Reads the version that a client sent, without a look at the session.
    ///
    /// - Parameter text: The value of the header or the query parameter; nil if there is none.
    /// - Returns: The version; nil if the text is not one.
    public static func version(_ text: String?) -> Int64? { text.flatMap { version(utf8: $0.utf8) } }

    /// Reads the version that a client sent, from text in ASCII, as ``version(_:)`` does.
    public static func version(utf8 text: some Collection<UInt8>) -> Int64? {
        guard let version = Int64(digits: text), version >= 1 else { return nil }
        return version
    }
}
