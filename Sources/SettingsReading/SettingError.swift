/// A setting that is missing or unusable, and how to correct it.
public struct SettingError: Error, CustomStringConvertible, Equatable {
    /// The environment variable, or the file.
    public var name: String
    /// What is wrong, and how to correct it.
    public var remedy: String

    /// Describes what is wrong with a setting.
    ///
    /// The value stays out, because it may be a secret.
    ///
    /// - Parameters:
    ///   - name: The environment variable, or the file.
    ///   - remedy: What is wrong, and how to correct it.
    public init(_ name: String, _ remedy: String) {
        self.name = name
        self.remedy = remedy
    }

    /// One line without the value.
    public var description: String { "\(name): \(remedy)" }
}
