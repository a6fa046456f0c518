import FoundationEssentials
import TextForms

/// The name of a recording, as a client sent it and as people see it.
public enum RecordingName {
    /// The maximum length of a stored file name, in Unicode scalars.
    public static let limit = 255

    /// A client's file name in a form that is safe to show.
    ///
    /// The result is the last component of a path of any system, without blanks at its ends, without control
    /// characters, and in one direction of writing.
    public static func shown(_ name: String) -> String {
        // This works on Unicode scalars. In a String, a separator and a combining mark after it are one character.
        let last =
            name.unicodeScalars.split(whereSeparator: { $0 == "/" || $0 == "\\" }).last ?? Substring().unicodeScalars
        let end = String(last).shown.unicodeScalars.reversed().drop(while: isBlank)
        // The cut has to keep the extension. A character may consist of any number of scalars, and the database counts
        // scalars.
        let kept = end.prefix(limit).reversed().drop(while: isBlank)
        return String(String.UnicodeScalarView(kept))
    }

    /// A file name from a header, where clients encode it in different ways.
    ///
    /// Decoded are the words of RFC 2047, which .NET sends, and percent signs, as in URLs.
    public static func decoded(_ name: String) -> String {
        let decoded = EncodedWords.decoded(name) ?? name
        // Only a name of which every percent sign is part of a code is encoded, and only if the bytes are UTF-8.
        return decoded.utf8.contains(UInt8(ascii: "%")) ? decoded.percentDecoded ?? decoded : decoded
    }

    /// The name for a download: with an extension of the format that the recording has.
    public static func forDownload(_ name: String?, format: AudioFormat?) -> String {
        guard let name, !name.isEmpty else { return "recording" + (format.map { ".\($0.extensions[0])" } ?? "") }
        guard let format, !(name.fileExtension.map { format.extensions.contains($0) } ?? false) else { return name }
        let stem =
            AudioFormat.acceptsExtension(of: name) ? name[..<(name.lastIndex(of: ".") ?? name.endIndex)] : name[...]
        return "\(stem.isEmpty ? "recording" : stem).\(format.extensions[0])"
    }

    private static func isBlank(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.isWhitespace }
}

/// The words of RFC 2047, which encode text in headers of mail: `=?utf-8?B?TcO8bGxlci5tcDM=?=`.
///
/// RFC 7578 does not allow them in forms. `HttpClient` of .NET sends them nevertheless.
enum EncodedWords {
    /// The text with all its words decoded; nil if a word has an encoding that is unknown or broken.
    static func decoded(_ text: String) -> String? {
        let word = /=\?([A-Za-z0-9_.:-]{1,40})(?:\*[A-Za-z0-9-]*)?\?([BbQq])\?([!->@-~]*)\?=/
        var result = ""
        var rest = text[...]
        var isAfterWord = false
        while let match = rest.firstMatch(of: word) {
            let before = rest[..<match.range.lowerBound]
            // RFC 2047, 6.2: "any 'linear-white-space' that separates a pair of adjacent 'encoded-word's is ignored".
            if !isAfterWord || !before.allSatisfy({ $0 == " " || $0 == "\t" }) { result += before }
            guard let bytes = bytes(match.output.3, isBase64: match.output.2.lowercased() == "b"),
                let decoded = decode(bytes, charset: match.output.1.lowercased())
            else { return nil }
            result += decoded
            rest = rest[match.range.upperBound...]
            isAfterWord = true
        }
        return result + rest
    }

    private static func bytes(_ text: Substring, isBase64: Bool) -> [UInt8]? {
        if isBase64 { return Data(base64Encoded: String(text)).map { Array($0) } }
        // RFC 2047, 4.2: the Q encoding.
        return text.replacing("_", with: "%20").replacing("=", with: "%").percentDecodedBytes
    }

    private static func decode(_ bytes: [UInt8], charset: String) -> String? {
        switch charset {
        case "utf-8", "utf8", "us-ascii", "ascii": String(validating: bytes, as: UTF8.self)
        case "iso-8859-1", "latin1": String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) }))
        case "windows-1252", "iso-8859-15":
            String(bytes: bytes, encoding: .windowsCP1252)
        default: nil
        }
    }
}
