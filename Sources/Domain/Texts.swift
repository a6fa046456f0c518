// The rule for text that people see, and small parsers.

extension Unicode.Scalar {
    /// Whether the scalar may appear in text that people see, such as a name, a message or a line of a log.
    ///
    /// Such text is one line and cannot control the display. It has no line ends and no control characters, such as the
    /// escapes of a terminal. It has none of the characters that change the direction of writing, which can show
    /// `3pm.exe` as `exe.mp3` (Unicode Standard Annex 9, 2). The characters that join letters and emoji are allowed.
    ///
    /// `app.one_line` is the same rule in SQL. A test compares the two.
    public var mayBeShown: Bool {
        switch properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: false
        default: !properties.isBidiControl
        }
    }
}

extension StringProtocol {
    /// The text without the scalars that must not be shown (``Unicode/Scalar/mayBeShown``).
    public var shown: String { String(String.UnicodeScalarView(unicodeScalars.filter(\.mayBeShown))) }

    /// The first scalars of ``shown``, at most as many as the limit.
    public func shown(limit: Int) -> String {
        String(String.UnicodeScalarView(unicodeScalars.lazy.filter(\.mayBeShown).prefix(limit)))
    }

    /// The text with a blank for each scalar that must not be shown (``Unicode/Scalar/mayBeShown``).
    public var oneLine: String { String(String.UnicodeScalarView(unicodeScalars.map { $0.mayBeShown ? $0 : " " })) }
}

extension String {
    func trimming(while predicate: (Character) -> Bool) -> String {
        String(drop(while: predicate).reversed().drop(while: predicate).reversed())
    }
}

extension FixedWidthInteger {
    /// Reads a number of ASCII decimal digits, without a sign or spaces.
    ///
    /// Nil for any other text, and for a number that is too large.
    @inlinable
    public init?(digits text: some StringProtocol) { self.init(digits: text.utf8) }

    /// Reads a number of decimal digits in ASCII as ``init(digits:)`` does.
    @inlinable
    public init?(digits text: some Collection<UInt8>) {
        guard !text.isEmpty else { return nil }
        var number: Self = 0
        for byte in text {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte),
                case (let shifted, false) = number.multipliedReportingOverflow(by: 10),
                case (let sum, false) = shifted.addingReportingOverflow(Self(byte - UInt8(ascii: "0")))
            else { return nil }
            number = sum
        }
        self = number
    }

    /// Reads a number of ASCII decimal digits as ``init(digits:)`` does; one that is too large becomes the greatest.
    @inlinable
    public init?(clampingDigits text: some StringProtocol) {
        guard !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
            return nil
        }
        self = Self(text) ?? .max
    }
}
