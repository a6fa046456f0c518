extension String {
    /// The text as the value of a query: each byte but those of letters, digits and `-._~` has a percent sign (RFC 3986, 2.3).
    var percentEncoded: String {
        utf8.reduce(into: "") { text, byte in
            let character = Character(Unicode.Scalar(byte))
            if character.isASCII, character.isLetter || character.isNumber || "-._~".contains(character) {
                text.append(character)
            } else {
                text += (byte < 16 ? "%0" : "%") + String(byte, radix: 16, uppercase: true)
            }
        }
    }
}
