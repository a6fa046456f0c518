import Foundation
import Testing
import TextForms

@Suite struct TextFormTests {
    @Test(
        "Blanks at the ends go, as Foundation takes them away",
        arguments: [
            "", " ", "a", " a ", "\t a b\t", "\n a \r\n", "\u{A0}a\u{3000}", "\u{2028}a", "\u{85}a\u{C}", "a \u{301}",
            "\u{301} a",
            "\u{FEFF}a", "\0a\0",
        ])
    func blanks(_ text: String) {
        #expect(Array(text.trimmed.utf8) == Array(text.trimmingCharacters(in: .whitespaces).utf8))
        #expect(Array(text.trimmedOfLines.utf8) == Array(text.trimmingCharacters(in: .whitespacesAndNewlines).utf8))
    }

    @Test("Given scalars at the ends go")
    func scalars() {
        #expect("[::1]".trimmed(of: ["[", "]"]) == "::1")
        #expect("\"5\"".trimmed(of: ["\""]) == "5")
        #expect("]]".trimmed(of: ["]"]) == "")
    }

    @Test(
        "Percent signs are decoded as Foundation decodes them",
        arguments: [
            "", "a", "%41", "%c3%BC", "%", "%4", "%4g", "%%41", "100%25", "%FF", "a%00b", "ü%20ü", "%+1", "% 1",
        ])
    func percentSigns(_ text: String) {
        #expect(text.percentDecoded == text.removingPercentEncoding)
    }

    @Test("Bytes are two hexadecimal digits each")
    func hexadecimal() {
        #expect([0, 9, 16, 255].hexadecimal == "000910ff")
    }
}
