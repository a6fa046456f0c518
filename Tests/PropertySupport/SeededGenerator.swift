/// A generator that draws the same numbers in every run: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
///
/// Values that are drawn with it are the same as well, unless they depend on the order of a dictionary.
/// `SWIFT_DETERMINISTIC_HASHING=1` makes that order the same in every run.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// Makes a generator that draws the same numbers for the same seed.
    public init(seed: UInt64) { state = seed }

    /// Draws the next number.
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var bits = state
        bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
        bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
        return bits ^ (bits >> 31)
    }
}
