import Configuration
import FoundationEssentials

/// Reads settings from environment variables.
///
/// Each call declares one setting with its name, default, range and meaning, and reads it. The code names a setting in
/// two places: in this call, in the initialiser of a group, and in the group's property. The table of
/// `docs/configuration.md` comes from the same calls (``init(environment:onDeclaration:)``).
///
/// An empty variable counts as missing.
public struct SettingsReader: Sendable {
    private let config: ConfigReader
    private let environment: [String: String]?
    private var onDeclaration: (@Sendable (SettingDeclaration) -> Void)?
    private var groupTitle = ""

    /// Makes a reader.
    ///
    /// - Parameters:
    ///   - environment: The variables, or nil for the variables of the process.
    ///   - onDeclaration: Receives each setting that is read.
    public init(
        environment: [String: String]? = nil, onDeclaration: (@Sendable (SettingDeclaration) -> Void)? = nil
    ) {
        let provider =
            environment.map { EnvironmentVariablesProvider(environmentVariables: $0) } ?? EnvironmentVariablesProvider()
        config = ConfigReader(provider: provider)
        self.environment = environment
        self.onDeclaration = onDeclaration
    }

    /// Returns a reader for settings under a heading of the documentation.
    ///
    /// - Parameter title: The heading.
    /// - Returns: The reader.
    public func group(_ title: String) -> SettingsReader {
        var reader = self
        reader.groupTitle = title
        return reader
    }

    /// Returns a reader that also tells another observer about each setting.
    ///
    /// - Parameter observer: Receives each setting that is read.
    /// - Returns: The reader.
    public func observed(by observer: @escaping @Sendable (SettingDeclaration) -> Void) -> SettingsReader {
        var reader = self
        reader.onDeclaration = { [onDeclaration] declaration in
            onDeclaration?(declaration)
            observer(declaration)
        }
        return reader
    }

    /// Returns an environment variable that is no setting, or that another group declares; nil if it is missing or empty.
    ///
    /// - Parameter name: The environment variable.
    /// - Returns: Its value.
    public func variable(_ name: String) -> String? {
        let value = environment.map { $0[name] } ?? ProcessInfo.processInfo.environment[name]
        return value?.isEmpty == false ? value : nil
    }

    // MARK: - Numbers

    /// Reads a whole number.
    ///
    /// - Parameters:
    ///   - name: The environment variable.
    ///   - range: The values that the setting accepts.
    ///   - fallback: The value of a missing setting.
    ///   - meaning: The meaning of the setting, as Markdown.
    /// - Returns: The number.
    /// - Throws: ``SettingError`` when the value is not a whole number, or is out of range.
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

    /// Reads a duration in seconds, which may have a fraction.
    ///
    /// - Parameters:
    ///   - name: The environment variable.
    ///   - range: The values that the setting accepts, in seconds.
    ///   - fallback: The value of a missing setting, in seconds.
    ///   - meaning: The meaning of the setting, as Markdown.
    /// - Returns: The duration.
    /// - Throws: ``SettingError`` when the value is not a number, or is out of range.
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

    /// Formats a number, without ".0" if it is whole.
    private func digits(_ number: Double) -> String { Int(exactly: number).map { "\($0)" } ?? "\(number)" }

    // MARK: - Words

    /// Reads one of a few words, each of which stands for a value.
    ///
    /// - Parameters:
    ///   - name: The environment variable.
    ///   - words: The words and their values.
    ///   - word: The word of a missing setting.
    ///   - meaning: The meaning of the setting, as Markdown.
    /// - Returns: The value of the word.
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

    /// Reads any text.
    ///
    /// - Parameters:
    ///   - name: The environment variable.
    ///   - form: The values that the setting accepts, for the documentation.
    ///   - fallback: The text of a missing setting.
    ///   - meaning: The meaning of the setting, as Markdown.
    /// - Returns: The text.
    public func text(_ name: String, form: String, default fallback: String, _ meaning: String) -> String {
        read(name, default: "`\(fallback)`", form: form, meaning) ?? fallback
    }

    /// Reads any text, or nil for a missing setting.
    ///
    /// - Parameters:
    ///   - name: The environment variable.
    ///   - form: The values that the setting accepts, for the documentation.
    ///   - fallback: What a missing setting stands for, for the documentation.
    ///   - meaning: The meaning of the setting, as Markdown.
    /// - Returns: The text, or nil.
    public func text(_ name: String, form: String, absent fallback: String = "none", _ meaning: String) -> String? {
        read(name, default: fallback, form: form, meaning)
    }

    // MARK: - Other forms

    /// Reads a value in a form that its group parses.
    ///
    /// - Parameters:
    ///   - name: The environment variable.
    ///   - form: The values that the setting accepts. An error says that the setting "has to be" this.
    ///   - fallback: The text of a missing setting.
    ///   - shown: The default in the documentation, as Markdown, or nil for `fallback`.
    ///   - meaning: The meaning of the setting, as Markdown.
    ///   - parse: Parses the text, or returns nil for a bad one.
    /// - Returns: The value.
    /// - Throws: ``SettingError`` when `parse` returns nil.
    public func value<Value>(
        _ name: String, form: String, default fallback: String, shownAs shown: String? = nil, _ meaning: String,
        _ parse: (String) -> Value?
    ) throws(SettingError) -> Value {
        let text = read(name, default: shown ?? "`\(fallback)`", form: form, meaning)
        return try parsed(name, text ?? fallback, form, parse)
    }

    /// Reads a value in a form that its group parses, or nil for a missing setting.
    ///
    /// - Parameters:
    ///   - name: The environment variable.
    ///   - form: The values that the setting accepts. An error says that the setting "has to be" this.
    ///   - fallback: What a missing setting stands for, for the documentation.
    ///   - meaning: The meaning of the setting, as Markdown.
    ///   - parse: Parses the text, or returns nil for a bad one.
    /// - Returns: The value, or nil.
    /// - Throws: ``SettingError`` when `parse` returns nil.
    public func value<Value>(
        _ name: String, form: String, absent fallback: String = "none", _ meaning: String, _ parse: (String) -> Value?
    ) throws(SettingError) -> Value? {
        guard let text = read(name, default: fallback, form: form, meaning) else { return nil }
        return try parsed(name, text, form, parse)
    }

    /// Reads a value that the program cannot do without.
    ///
    /// - Parameters:
    ///   - name: The environment variable.
    ///   - form: The values that the setting accepts. An error says that the setting "has to be" this.
    ///   - meaning: The meaning of the setting, as Markdown.
    ///   - parse: Parses the text, or returns nil for a bad one.
    /// - Returns: The value.
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

    /// Declares a setting and reads its text; nil if it is missing or empty.
    private func read(_ name: String, default fallback: String, form: String, _ meaning: String) -> String? {
        onDeclaration?(
            SettingDeclaration(group: groupTitle, name: name, fallback: fallback, form: form, meaning: meaning))
        let key = ConfigKey(name.lowercased().split(separator: "_").map(String.init))
        guard let text = config.string(forKey: key, isSecret: true), !text.isEmpty else { return nil }
        return text
    }
}

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
