/// Environment variables whose values no log shows.
public struct SecretVariables: Sendable, Equatable, CustomStringConvertible, CustomReflectable {
    /// The values by name.
    public var values: [String: String]

    /// Wraps variables.
    ///
    /// - Parameter values: The values by name.
    public init(_ values: [String: String] = [:]) {
        self.values = values
    }

    /// The names alone.
    public var description: String { values.keys.sorted().joined(separator: ", ") }

    /// The same text as the description, which keeps the values out of dumps.
    public var customMirror: Mirror { Mirror(self, children: ["names": description]) }
}
