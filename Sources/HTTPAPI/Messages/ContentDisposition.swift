/// The header `Content-Disposition` of a download (RFC 6266).
enum ContentDisposition {
    /// The value for a file that a browser stores under a name.
    ///
    /// It has the name twice: `filename*` for the characters that people use, and before it a stand-in in ASCII for
    /// programs that know only `filename`.
    static func attachment(_ name: String) -> String {
        let quoted = quotable(name)
        return quoted == name
            ? "attachment; filename=\"\(quoted)\""
            : "attachment; filename=\"\(quoted)\"; filename*=UTF-8''\(extended(name))"
    }

    /// A name for a quoted string.
    ///
    /// Characters that would end the string or the header are replaced, and percent signs, which some browsers decode.
    private static func quotable(_ name: String) -> String {
        String(
            String.UnicodeScalarView(
                name.unicodeScalars.map {
                    $0.isASCII && !"\"\\%".unicodeScalars.contains($0) && $0.value >= 0x20 && $0.value != 0x7F
                        ? $0 : "_"
                }))
    }

    /// A name as the value of an extended parameter (RFC 8187, 3.2.1): all bytes but those of `attr-char` are encoded.
    private static func extended(_ name: String) -> String {
        var result = ""
        for byte in name.utf8 {
            let scalar = Unicode.Scalar(byte)
            let isPlain =
                scalar.properties.isAlphabetic && scalar.isASCII || ("0"..."9").contains(scalar)
                || "!#$&+-.^_`|~".unicodeScalars.contains(scalar)
            if isPlain {
                result.unicodeScalars.append(scalar)
            } else {
                result += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return result
    }
}
