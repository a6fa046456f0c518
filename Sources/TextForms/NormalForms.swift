import FoundationEssentials
@_spi(_Unicode) import Swift

// The standard library has the form NFC, because it compares strings by it, and shows it to Foundation under this name.

extension String {
    /// The text in the normal form NFC (Unicode Standard Annex 15).
    public var canonicalForm: String {
        var scalars = UnicodeScalarView()
        for scalar in _nfc { scalars.append(scalar) }
        return String(scalars)
    }

    /// The text in the normal form NFKC (Unicode Standard Annex 15).
    ///
    /// UAX 15, 1.2: NFKC is "Compatibility Decomposition, followed by Canonical Composition". NFC is the composition, and orders the
    /// marks. It decomposes by the canonical mappings itself. Only the compatibility mappings come before it.
    public var compatibleForm: String {
        guard !utf8.allSatisfy({ $0 < 0x80 }) else { return self }
        var scalars = UnicodeScalarView()
        for scalar in unicodeScalars {
            if let mapping = CompatibilityMappings.all[scalar] {
                scalars.append(contentsOf: mapping)
            } else {
                scalars.append(scalar)
            }
        }
        return String(scalars).canonicalForm
    }
}

/// The scalars whose compatibility decomposition differs from the canonical one, with that decomposition.
///
/// The build asks Foundation for them and writes them into `compatibility.txt`: on each line a scalar, a semicolon and its
/// full decomposition. The tests compare the form NFKC of every scalar with that of Foundation.
enum CompatibilityMappings {
    static let all: [Unicode.Scalar: [Unicode.Scalar]] = {
        var mappings: [Unicode.Scalar: [Unicode.Scalar]] = [:]
        let text = String(decoding: EmbeddedFiles.all["compatibility.txt"] ?? Data(), as: UTF8.self)
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: ";").map { part in part.split(separator: " ").compactMap(scalar) }
            guard parts.count == 2, let source = parts[0].first else { preconditionFailure("broken mapping: \(line)") }
            mappings[source] = parts[1]
        }
        return mappings
    }()

    private static func scalar(_ code: Substring) -> Unicode.Scalar? {
        UInt32(code, radix: 16).flatMap(Unicode.Scalar.init)
    }
}
