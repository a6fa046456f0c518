/// What the documentation says about one setting.
public struct SettingDeclaration: Sendable, Equatable {
    /// The heading that the setting stands under.
    public let group: String
    /// The environment variable.
    public let name: String
    /// The value of a setting that is missing, as Markdown.
    public let fallback: String
    /// Which values the setting takes.
    public let form: String
    /// What the setting decides, as Markdown.
    public let meaning: String
}
