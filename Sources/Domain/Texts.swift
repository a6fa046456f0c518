// The one rule for text that people are shown, and small readers of text.

extension Unicode.Scalar {
    /// Whether the scalar may stand in a text that people are shown, such as a name, a message or a line of a log.
    ///
    /// Such a text is one line: it has no ends of lines. It does not steer what shows it: it has no control characters, such
    /// as the escapes of a terminal, and none of those that turn the direction of writing and show `3pm.exe` as `exe.mp3`
    /// (Unicode Standard Annex 9, 2). What joins letters and emoji stays.
    public var mayBeShown: Bool {
        switch properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: false
        default: !properties.isBidiControl
        }
    }
}

extension StringProtocol {
    /// The text without what may not be shown (``Unicode/Scalar/mayBeShown``).
    public var shown: String { String(String.UnicodeScalarView(unicodeScalars.filter(\.mayBeShown))) }
}

extension String {
    func trimming(while predicate: (Character) -> Bool) -> String {
        String(drop(while: predicate).reversed().drop(while: predicate).reversed())
    }
}

extension Int64 {
    /// Reads a number that is written in decimal digits of ASCII and nothing else: no sign, no blank.
    ///
    /// Nil when it is not, or is too large.
    public init?(digits text: some StringProtocol) {
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
        self.init(text)
    }
}
