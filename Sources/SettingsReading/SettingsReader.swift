import Configuration

/// Reads settings from environment variables.
///
/// Each call declares one setting, with its name, default, range and meaning, and reads it. So a setting stands in two
/// places: this call, in the initialiser of the group that has it, and the group's property. The table of
/// `docs/configuration.md` comes from the same calls (``init(environment:onDeclaration:)``).
///
/// An empty variable counts as a missing one.
public struct SettingsReader: Sendable {
    private let config: ConfigReader
    private let onDeclaration: (@Sendable (SettingDeclaration) -> Void)?
    private var groupTitle = ""

    /// Makes a reader.
    ///
    /// - Parameters:
    ///   - environment: The variables; nil takes the process's own.
    ///   - onDeclaration: Called with each setting that is read.
    public init(
        environment: [String: String]? = nil, onDeclaration: (@Sendable (SettingDeclaration) -> Void)? = nil
    ) {
        let provider =
            environment.map { EnvironmentVariablesProvider(environmentVariables: $0) } ?? EnvironmentVariablesProvider()
        config = ConfigReader(provider: provider)
        self.onDeclaration = onDeclaration
    }

    /// The same reader, for settings that the documentation shows under a heading.
    public func group(_ title: String) -> SettingsReader {
        var reader = self
        reader.groupTitle = title
        return reader
    }

    // MARK: - Numbers

    /// A whole number.
    ///
    /// - Throws: ``SettingError`` when the value is no whole number, or out of range.
    public func integer(
        _ name: String, in range: ClosedRange<Int>, default fallback: Int, _ meaning: String
    ) throws(SettingError) -> Int {
        let bounds = "\(range.lowerBound) to \(range.upperBound)"
        guard let text = read(name, default: "\(fallback)", form: bounds, meaning) else { return fallback }
        guard let number = Int(text), range.contains(number) else {
            throw SettingError(name, "has to be a whole number from \(bounds)")
        }
        return number
    }

    /// A duration, in seconds that may have a fraction.
    ///
    /// - Throws: ``SettingError`` when the value is no number, or out of range.
    public func seconds(
        _ name: String, in range: ClosedRange<Double>, default fallback: Double, _ meaning: String
    ) throws(SettingError) -> Duration {
        let bounds = "\(digits(range.lowerBound)) to \(digits(range.upperBound))"
        guard let text = read(name, default: digits(fallback), form: "\(bounds) s", meaning) else {
            return .seconds(fallback)
        }
        guard let number = Double(text), range.contains(number) else {
            throw SettingError(name, "has to be a number of seconds from \(bounds)")
        }
        return .seconds(number)
    }

    /// A number without a fraction of zero.
    private func digits(_ number: Double) -> String { Int(exactly: number).map { "\($0)" } ?? "\(number)" }

    // MARK: - Words

    /// One of a few words, each of which stands for a value.
    ///
    /// - Throws: ``SettingError`` for any other word.
    public func choice<Value>(
        _ name: String, _ words: KeyValuePairs<String, Value>, default word: String, _ meaning: String
    ) throws(SettingError) -> Value {
        let text = read(
            name, default: "`\(word)`", form: words.map { "`\($0.key)`" }.joined(separator: ", "), meaning)
        guard let match = words.first(where: { $0.key == text ?? word }) else {
            throw SettingError(name, "has to be one of \(words.map(\.key).joined(separator: ", "))")
        }
        return match.value
    }

    /// Any text.
    public func text(_ name: String, form: String, default fallback: String, _ meaning: String) -> String {
        read(name, default: "`\(fallback)`", form: form, meaning) ?? fallback
    }

    /// Any text; nil when the setting is missing, which the documentation shows as `fallback`.
    public func text(_ name: String, form: String, absent fallback: String = "none", _ meaning: String) -> String? {
        read(name, default: fallback, form: form, meaning)
    }

    // MARK: - Other forms

    /// A value that only its group can read.
    ///
    /// - Parameters:
    ///   - name: The environment variable.
    ///   - form: Which values the setting takes; an error says that it "has to be" this.
    ///   - fallback: The text that a missing setting stands for.
    ///   - shown: The default as Markdown, where it is another text than `fallback`.
    ///   - meaning: What the setting decides, as Markdown.
    ///   - parse: Reads the text; nil for a bad one.
    /// - Returns: The value that was read.
    /// - Throws: ``SettingError`` when `parse` returns nil.
    public func value<Value>(
        _ name: String, form: String, default fallback: String, shownAs shown: String? = nil, _ meaning: String,
        _ parse: (String) -> Value?
    ) throws(SettingError) -> Value {
        let text = read(name, default: shown ?? "`\(fallback)`", form: form, meaning)
        return try parsed(name, text ?? fallback, form, parse)
    }

    /// A value that only its group can read; nil when the setting is missing.
    ///
    /// - Throws: ``SettingError`` when `parse` returns nil.
    public func value<Value>(
        _ name: String, form: String, absent fallback: String = "none", _ meaning: String, _ parse: (String) -> Value?
    ) throws(SettingError) -> Value? {
        guard let text = read(name, default: fallback, form: form, meaning) else { return nil }
        return try parsed(name, text, form, parse)
    }

    /// A value that only its group can read, and without which the program cannot go on.
    ///
    /// - Throws: ``SettingError`` when the setting is missing, or `parse` returns nil.
    public func required<Value>(
        _ name: String, form: String, _ meaning: String, _ parse: (String) -> Value?
    ) throws(SettingError) -> Value {
        guard let text = read(name, default: "required", form: form, meaning) else {
            throw SettingError(name, "is missing; set it to \(form)")
        }
        return try parsed(name, text, form, parse)
    }

    private func parsed<Value>(
        _ name: String, _ text: String, _ form: String, _ parse: (String) -> Value?
    ) throws(SettingError) -> Value {
        guard let value = parse(text) else { throw SettingError(name, "has to be \(form)") }
        return value
    }

    /// Declares a setting and reads its text; nil when it is missing or empty.
    private func read(_ name: String, default fallback: String, form: String, _ meaning: String) -> String? {
        onDeclaration?(
            SettingDeclaration(group: groupTitle, name: name, fallback: fallback, form: form, meaning: meaning))
        let key = ConfigKey(name.lowercased().split(separator: "_").map(String.init))
        guard let text = config.string(forKey: key, isSecret: true), !text.isEmpty else { return nil }
        return text
    }
}
