import Testing

@testable import Pipeline

@Suite struct CommandWordsTests {
    @Test(
        "A line splits into words by the rules of a shell's quoting",
        arguments: [
            ("whisper --model base", ["whisper", "--model", "base"]),
            ("  a\t b \n", ["a", "b"]),
            (#"'/opt/my tools/run' "two words" three\ words"#, ["/opt/my tools/run", "two words", "three words"]),
            (#"a '' "" b"#, ["a", "", "", "b"]),
            (#"a"b c"'d e'f"#, ["ab cd ef"]),
            (#"p "say \"hi\" \\ \n \$x""#, ["p", #"say "hi" \ \n $x"#]),
            (#"p 'it'\''s' '\n'"#, ["p", "it's", #"\n"#]),
            ("p $HOME * | rm ; `x` é", ["p", "$HOME", "*", "|", "rm", ";", "`x`", "é"]),
        ])
    func splits(line: String, words: [String]) throws {
        #expect(try CommandWords(line).words == words)
    }

    @Test(
        "A line without a program, or with broken quoting, is refused",
        arguments: [
            ("", CommandWords.ParseError.empty), (" \t", .empty), ("'' x", .empty), ("a 'b", .unclosedQuote("'")),
            (#"a "b"#, .unclosedQuote("\"")), (#"a "b\"#, .unclosedQuote("\"")), (#"a \"#, .danglingBackslash),
            ("a\0b", .nul),
        ])
    func refuses(line: String, error: CommandWords.ParseError) {
        #expect(throws: error) { try CommandWords(line) }
    }
}
