import Domain
import FoundationEssentials

/// The values of the server's variables that a stage gets, to keep them out of what it has printed.
struct SecretValues: Sendable {
    /// A shorter value is a plain setting such as `1` or `en`, and is found in many words.
    static let shortest = 6
    /// A value of letters alone that is as long as this is a key, and no word.
    static let longestWord = 16

    private typealias Value = (value: String, name: String)

    private let values: [Value]
    /// Those that nobody says: a setting such as `medium` or `German` also is a word of the recording.
    private let unspeakable: [Value]

    init(_ variables: [String: String] = [:]) {
        // A value may hold another one.
        values = variables.filter { $0.value.utf8.count >= Self.shortest }.map { ($0.value, $0.key) }
            .sorted { $0.value.utf8.count > $1.value.utf8.count }
        unspeakable = values.filter { !Self.canBeWord($0.value) }
    }

    private static func canBeWord(_ value: String) -> Bool {
        value.unicodeScalars.count < longestWord && value.unicodeScalars.allSatisfy(\.properties.isAlphabetic)
    }

    /// The text with `$` and the name of the variable for each value.
    ///
    /// A combining mark before or after a value is part of a `Character` with it. The search goes by code points.
    func hidden(in text: String) -> String { Self.text(text, without: values) }

    /// The words of a recording, with `$` and the name of the variable for each value that is no word.
    func hidden(inWords text: String) -> String { Self.text(text, without: unspeakable) }

    /// The JSON of a result, with `$` and the name of the variable for each value that is no word.
    ///
    /// Looks into all strings, also those that are written with escapes. A string without a value keeps its bytes, and so
    /// does everything between strings.
    ///
    /// - Parameter json: Valid JSON.
    /// - Returns: Valid JSON.
    func hidden(inJSON json: ArraySlice<UInt8>) -> String {
        guard !unspeakable.isEmpty else { return String(decoding: json, as: UTF8.self) }
        var shown: [UInt8] = []
        var kept = json.startIndex
        var position = json.startIndex
        while let start = json[position...].firstIndex(of: UInt8(ascii: "\"")) {
            var end = start + 1
            var hasEscapes = false
            while json[end] != UInt8(ascii: "\"") {
                let isEscape = json[end] == UInt8(ascii: "\\")
                hasEscapes = hasEscapes || isEscape
                end += isEscape ? 2 : 1
            }
            position = end + 1
            let string = json[start..<position]
            guard
                let text = hasEscapes
                    ? Self.decoded(string) : String(decoding: string.dropFirst().dropLast(), as: UTF8.self),
                hasUnspeakable(Array(text.utf8)),
                let replaced = try? Self.encoded(hidden(inWords: text))
            else { continue }
            shown += json[kept..<start]
            shown += replaced
            kept = position
        }
        return String(decoding: shown + json[kept...], as: UTF8.self)
    }

    private static func decoded(_ string: ArraySlice<UInt8>) -> String? {
        try? JSONDecoder().decode(String.self, from: Data(string))
    }

    private static func encoded(_ text: String) throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        return try encoder.encode(text)
    }

    private static func text(_ text: String, without values: [Value]) -> String {
        String(
            values.reduce(text.unicodeScalars) {
                $0.replacing($1.value.unicodeScalars, with: "$\($1.name)".unicodeScalars)
            })
    }

    /// True if the text has a value that nobody may see.
    ///
    /// Most texts of a long transcript have none, and a search that replaces is slow.
    private func hasUnspeakable(_ text: [UInt8]) -> Bool {
        unspeakable.contains { secret in
            let value = Array(secret.value.utf8)
            var rest = text[...]
            while let start = rest.firstIndex(of: value[0]) {
                if text[start...].starts(with: value) { return true }
                rest = text[(start + 1)...]
            }
            return false
        }
    }
}
