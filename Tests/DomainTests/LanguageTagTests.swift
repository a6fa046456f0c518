import Domain
import Foundation
import PropertySupport
import Testing

@Suite struct LanguageTagTests {
    /// Well-formed tags: the examples of RFC 5646, appendix A, and the ones that its grammar lists.
    @Test(
        "A well-formed tag gets the case of RFC 5646, 2.1.1",
        arguments: [
            ("de", "de"), ("DE", "de"), ("de-at", "de-AT"), ("EN-us", "en-US"), ("sr-latn-rs", "sr-Latn-RS"),
            ("zh-HANT", "zh-Hant"), ("zh-cmn-hans-cn", "zh-cmn-Hans-CN"), ("sl-ROZAJ-biske", "sl-rozaj-biske"),
            ("de-ch-1901", "de-CH-1901"), ("es-419", "es-419"), ("de-DE-u-co-PHONEBK", "de-DE-u-co-phonebk"),
            ("en-ca-x-CA", "en-CA-x-ca"), ("az-latn-X-LATN", "az-Latn-x-latn"), ("X-WHATEVER", "x-whatever"),
            ("qaa-qaaa-qm-x-southern", "qaa-Qaaa-QM-x-southern"), ("en-a-MyExt-b-another", "en-a-myext-b-another"),
            ("I-KLINGON", "i-klingon"), ("en-gb-OED", "en-GB-oed"), ("SGN-be-fr", "sgn-BE-FR"),
            ("zh-MIN-nan", "zh-min-nan"),
            ("art-LOJBAN", "art-lojban"), ("und", "und"), ("de-1ABC", "de-1abc"), ("haw", "haw"),
        ])
    func canonical(_ text: String, _ tag: String) {
        #expect(LanguageTag(text)?.description == tag)
        // The canonical tag is its own, and equal.
        #expect(LanguageTag(tag) == LanguageTag(text))
    }

    @Test(
        "A text that is not a well-formed tag is refused",
        arguments: [
            "", " ", "d", "de_AT", "de AT", " de", "de ", "de\n", "-", "de-", "-de", "de--AT", "abcdefghi",
            "deutsch-lang-AT-x",
            "a-DE", "de-419-DE", "ar-a", "en-x", "x", "x-", "x-123456789", "i-unknown", "en-gb-oedx", "1-de", "12",
            "de-a-b",
            "dé", "de-\u{C4}T", "\u{212A}e", "i-\u{212A}lingon", "de\0", "'", "en-latn-latn", "de-1",
        ])
    func refused(_ text: String) {
        #expect(LanguageTag(text) == nil)
    }

    @Test("A tag has at most 100 characters")
    func length() {
        let tag = "en-x" + String(repeating: "-abcdefg", count: 12)
        #expect(tag.count == 100)
        #expect(LanguageTag(tag) != nil)
        #expect(LanguageTag("en-x" + String(repeating: "-abcdefg", count: 11) + "-abcdefgh") == nil)
    }

    @Test("Every tag that is read is ASCII, and is read again as it is")
    func stable() {
        holds(forCases: 300) { generator in
            let text = generator.text(
                of: ["de", "-", "AT", "latn", "1901", "x", "a", "abcde", "419", "\u{212A}"], count: 1...8)
            guard let tag = LanguageTag(text) else { return nil }
            guard tag.description.utf8.allSatisfy({ $0 < 0x80 }), LanguageTag(tag.description) == tag else {
                return text
            }
            return tag.description.lowercased() == text.lowercased() ? nil : text
        }
    }

    @Test("JSON has the tag as a text, and a text that is no tag is refused")
    func json() throws {
        let tags = try JSONDecoder().decode([LanguageTag].self, from: Data(#"["DE-at"]"#.utf8))
        #expect(String(decoding: try JSONEncoder().encode(tags), as: UTF8.self) == #"["de-AT"]"#)
        #expect(throws: DecodingError.self) {
            _ = try JSONDecoder().decode([LanguageTag].self, from: Data(#"["de_AT"]"#.utf8))
        }
    }
}
