import Subprocess
import SystemPackage

/// Splits a setting such as `PIPELINE_TRANSCRIBE_COMMAND` into the words of a command.
///
/// The rules are those of a shell's quoting and no more: blanks separate words, `'…'` keeps everything, `"…"` keeps everything
/// but `\"`, `\\`, `\$` and `` \` ``, and a backslash outside quotes keeps the next character. There is no expansion of any
/// kind, since no shell runs: `$HOME`, `*`, `|` and `;` are plain characters that the program would get as they are.
/// Source: POSIX.1-2024, Shell Command Language, 2.2 "Quoting".
public struct CommandWords: Sendable, Equatable {
    /// The words, the program first; never empty.
    public let words: [String]

    /// The program: a name that is looked up in `PATH`, or a path.
    public var program: String { words[0] }

    /// What follows the program.
    public var arguments: ArraySlice<String> { words.dropFirst() }

    /// Why a command line cannot be split.
    public enum ParseError: Error, Equatable, CustomStringConvertible {
        /// There is no word in it.
        case empty
        /// A quote is opened and never closed.
        case unclosedQuote(Character)
        /// It ends in a backslash that quotes nothing.
        case danglingBackslash
        /// It holds a NUL, which no argument of a program can carry.
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
    /// - Parameter line: the text of the setting.
    /// - Throws: ``ParseError`` when the text is empty or its quoting is broken.
    public init(_ line: String) throws(ParseError) {
        var splitter = Splitter()
        for character in line {
            try splitter.feed(character)
        }
        words = try splitter.finish()
    }
}

/// The state machine behind ``CommandWords``: one character in, at most one state changed.
private struct Splitter {
    private enum State {
        /// Between words, or inside one outside quotes; `word` tells which.
        case plain
        /// After a backslash outside quotes.
        case escaped
        /// Inside `'…'`: only the closing quote means anything.
        case single
        /// Inside `"…"`.
        case double
        /// After a backslash inside `"…"`.
        case doubleEscaped
    }

    private var state = State.plain
    private var words: [String] = []
    /// The word being read; nil between words, so that `''` makes an empty word.
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
    /// A program as a setting names it: a path when it has a slash, else a name to be looked up in `PATH`, as a shell does.
    static func program(_ name: String) -> Executable { name.contains("/") ? .path(FilePath(name)) : .name(name) }
}
