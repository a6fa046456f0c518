/// The documentation of one setting.
public struct SettingDeclaration: Sendable, Equatable {
    /// The heading above the setting.
    public let group: String
    /// The environment variable.
    public let name: String
    /// The default: the value that the program uses if the setting is missing, as Markdown.
    public let fallback: String
    /// The values that the setting accepts.
    public let form: String
    /// The meaning of the setting, as Markdown.
    public let meaning: String
}
