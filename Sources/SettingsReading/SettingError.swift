/// A setting that is missing or that the program cannot use: which one, and how to mend it.
public struct SettingError: Error, CustomStringConvertible, Equatable {
    /// The environment variable, or the file.
    public var name: String
    /// What is wrong, and how to mend it.
    public var mend: String

    /// Describes what is wrong with a setting; the value stays out, since it may be a secret.
    public init(_ name: String, _ mend: String) {
        self.name = name
        self.mend = mend
    }

    /// One line, without the value: it may be a secret.
    public var description: String { "\(name): \(mend)" }
}
