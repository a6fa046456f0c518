// What Foundation has for texts and FoundationEssentials lacks. Foundation brings 40 MB with it, most of them the data of ICU.

extension StringProtocol {
    /// The text without the blanks at its ends: tabs and the spaces of Unicode, but not the ends of lines.
    ///
    /// This works on Unicode scalars. In a String, a blank and a combining mark after it are one character.
    public var trimmed: String { trimmed { $0.isBlank } }

    /// The text without the blanks and the ends of lines at its ends.
    public var trimmedOfLines: String { trimmed { $0.isBlank || $0.endsLine } }

    /// The text without the given scalars at its ends.
    public func trimmed(of scalars: Set<Unicode.Scalar>) -> String { trimmed(where: scalars.contains) }

    private func trimmed(where isTrimmed: (Unicode.Scalar) -> Bool) -> String {
        var rest = unicodeScalars[...]
        while let first = rest.first, isTrimmed(first) { rest.removeFirst() }
        while let last = rest.last, isTrimmed(last) { rest.removeLast() }
        var result = String.UnicodeScalarView()
        result.append(contentsOf: rest)
        return String(result)
    }
}

extension Unicode.Scalar {
    fileprivate var isBlank: Bool { self == "\t" || properties.generalCategory == .spaceSeparator }

    fileprivate var endsLine: Bool {
        switch value {
        case 0x0A...0x0D, 0x85, 0x2028, 0x2029: true
        default: false
        }
    }
}
