/// A setting that is missing or unusable, and how to correct it.
public struct SettingError: Error, CustomStringConvertible, Equatable {
    /// The environment variable, or the file.
    public var name: String
    /// What is wrong, and how to correct it.
    public var mend: String

    /// Describes what is wrong with a setting.
    ///
    /// The value stays out, because it may be a secret.
    ///
    /// - Parameters:
    ///   - name: The environment variable, or the file.
    ///   - mend: What is wrong, and how to correct it.
    public init(_ name: String, _ mend: String) {
        self.name = name
        self.mend = mend
    }

    /// One line without the value.
    public var description: String { "\(name): \(mend)" }
}
