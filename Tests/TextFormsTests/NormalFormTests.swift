import Foundation
import Testing
import TextForms

/// Compares with Foundation, which the tests load and the program does not.
@Suite struct NormalFormTests {
    @Test("Every scalar has the forms NFC and NFKC that Foundation gives it")
    func everyScalar() {
        var different: [String] = []
        for scalar in (UInt32(0)...0x10FFFF).compactMap(Unicode.Scalar.init)
        where ![.unassigned, .privateUse].contains(scalar.properties.generalCategory) {
            // Alone: Foundation leaves marks behind some scalars in the wrong order.
            let text = String(scalar)
            if !same(text.canonicalForm, text.precomposedStringWithCanonicalMapping)
                || !same(text.compatibleForm, text.precomposedStringWithCompatibilityMapping)
            {
                different.append(String(scalar.value, radix: 16))
            }
        }
        #expect(different == [])
    }

    @Test(
        "Texts in their forms NFC and NFKC",
        arguments: [
            ("plain", "plain", "plain"), ("", "", ""),
            ("e\u{301}", "\u{E9}", "\u{E9}"),
            // The marks of UAX 15, figure 6, in another order.
            ("q\u{307}\u{323}", "q\u{323}\u{307}", "q\u{323}\u{307}"),
            ("\u{FB01}", "\u{FB01}", "fi"),
            // A mark behind a mapping: the dot below comes first, and joins the letter.
            ("\u{1C4}\u{323}", "\u{1C4}\u{323}", "D\u{1E92}\u{30C}"),
            ("\u{F73}\u{323}", "\u{F71}\u{F72}\u{323}", "\u{F71}\u{F72}\u{323}"),
            // The long s with a dot: a compatibility mapping behind a canonical one.
            ("\u{1E9B}\u{323}", "\u{1E9B}\u{323}", "\u{1E69}"),
            ("\u{FF21}\u{FF22}", "\u{FF21}\u{FF22}", "AB"),
            ("\u{1100}\u{1161}\u{11A8}", "\u{AC01}", "\u{AC01}"),
        ])
    func examples(_ text: String, _ canonical: String, _ compatible: String) {
        #expect(same(text.canonicalForm, canonical))
        #expect(same(text.compatibleForm, compatible))
    }

    /// Strings are equal in Swift if their normal forms are.
    private func same(_ first: String, _ second: String) -> Bool {
        first.unicodeScalars.elementsEqual(second.unicodeScalars)
    }
}
