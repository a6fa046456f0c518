import Subprocess
import SystemPackage

/// Splits a setting such as `PIPELINE_TRANSCRIBE_COMMAND` into the words of a command.
///
/// The rules are those of a shell's quoting: blanks separate words, `'…'` keeps every character, `"…"` keeps every
/// character except `\"`, `\\`, `\$` and `` \` ``, and a backslash outside quotes keeps the next character. Nothing is
/// expanded, because no shell runs: the program gets `$HOME`, `*`, `|` and `;` as they are. Source: POSIX.1-2024, Shell
/// Command Language, 2.2 "Quoting".
public struct CommandWords: Sendable, Equatable {
    /// The words, the program first.
    ///
    /// There is at least one.
    public let words: [String]

    /// The program: a path, or a name to look up in `PATH`.
    public var program: String { words[0] }

    /// The words after the program.
    public var arguments: ArraySlice<String> { words.dropFirst() }

    /// Why a command line cannot be split.
    public enum ParseError: Error, Equatable, CustomStringConvertible {
        /// The text has no word.
        case empty
        /// A quote is never closed.
        case unclosedQuote(Character)
        /// The last character is a backslash outside quotes.
        case danglingBackslash
        /// The text has a NUL character. No argument of a program can hold one.
        case nul

        /// One phrase for the operator who wrote the setting.
        public var description: String {
            switch self {
            case .empty: "the command is empty"
            case .unclosedQuote(let quote): "the quote \(quote) is never closed"
            case .danglingBackslash: "the command ends in a backslash"
            case .nul: "the command holds a NUL character"
            }
        }
    }

    /// Splits a command line.
    ///
    /// - Parameter line: The text of the setting.
    /// - Throws: ``ParseError`` when the text is empty or its quoting is broken.
    public init(_ line: String) throws(ParseError) {
        var splitter = Splitter()
        for character in line {
            try splitter.feed(character)
        }
        words = try splitter.finish()
    }
}

/// The state machine of ``CommandWords``: one character in, at most one change of state.
private struct Splitter {
    private enum State {
        /// Between two words, or in a word outside quotes: `word` is nil between words.
        case plain
        /// After a backslash outside quotes.
        case escaped
        /// Inside `'…'`. Only the closing quote has a meaning.
        case single
        /// Inside `"…"`.
        case double
        /// After a backslash inside `"…"`.
        case doubleEscaped
    }

    private var state = State.plain
    private var words: [String] = []
    /// The present word, or nil between words.
    ///
    /// `''` makes an empty word.
    private var word: String?

    mutating func feed(_ character: Character) throws(CommandWords.ParseError) {
        guard character != "\0" else { throw .nul }
        switch state {
        case .plain: plain(character)
        case .escaped:
            word = (word ?? "") + String(character)
            state = .plain
        case .single:
            if character == "'" { state = .plain } else { word?.append(character) }
        case .double:
            switch character {
            case "\"": state = .plain
            case "\\": state = .doubleEscaped
            default: word?.append(character)
            }
        case .doubleEscaped:
            if !"\"\\$`".contains(character) { word?.append("\\") }
            word?.append(character)
            state = .double
        }
    }

    private mutating func plain(_ character: Character) {
        switch character {
        case "\\": state = .escaped
        case "'", "\"":
            word = word ?? ""
            state = character == "'" ? .single : .double
        case _ where character.isWhitespace:
            if let word { words.append(word) }
            word = nil
        default: word = (word ?? "") + String(character)
        }
    }

    mutating func finish() throws(CommandWords.ParseError) -> [String] {
        switch state {
        case .plain: break
        case .escaped: throw .danglingBackslash
        case .single: throw .unclosedQuote("'")
        case .double, .doubleEscaped: throw .unclosedQuote("\"")
        }
        if let word { words.append(word) }
        guard let program = words.first, !program.isEmpty else { throw .empty }
        return words
    }
}

extension Executable {
    /// Reads the name of a program as a shell does: a name with a slash is a path, any other is looked up in `PATH`.
    static func program(_ name: String) -> Executable { name.contains("/") ? .path(FilePath(name)) : .name(name) }
}
