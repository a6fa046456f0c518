extension Int64 {
    /// Reads a number that is written in decimal digits of ASCII and nothing else: no sign, no blank.
    ///
    /// Nil when it is not, or is too large.
    public init?(digits text: some StringProtocol) {
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
        self.init(text)
    }
}
