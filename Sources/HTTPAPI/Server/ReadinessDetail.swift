/// One part of the process, and whether it is as it should be.
public struct ReadinessDetail: Sendable, Encodable {
    /// The name of the part.
    public let name: String
    /// False if the part is missing or broken.
    ///
    /// The process may be ready all the same.
    public let isGood: Bool
    /// Why, for the operator.
    public let text: String

    /// Describes a part.
    ///
    /// - Parameters:
    ///   - name: The name of the part.
    ///   - isGood: False if the part is missing or broken.
    ///   - text: Why, for the operator.
    public init(name: String, isGood: Bool, text: String) {
        self.name = name
        self.isGood = isGood
        self.text = text
    }

    private enum CodingKeys: String, CodingKey {
        case name
        case isGood = "ok"
        case text = "detail"
    }
}

/// What keeps a process from being ready, and the state of its parts.
public struct ReadinessReport: Sendable {
    /// Why the process is not ready, or nil if it is.
    public let missing: String?
    /// The parts that are reported.
    public let details: [ReadinessDetail]

    /// Describes a process.
    ///
    /// - Parameters:
    ///   - missing: Why the process is not ready, or nil if it is.
    ///   - details: The parts that are reported.
    public init(missing: String?, details: [ReadinessDetail]) {
        self.missing = missing
        self.details = details
    }
}
