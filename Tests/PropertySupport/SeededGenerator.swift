/// Random numbers that are the same in every run with the same seed: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
///
/// What is drawn with them is the same, too, as long as nothing depends on the order of a dictionary:
/// `SWIFT_DETERMINISTIC_HASHING=1` keeps that from run to run.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// A generator that always gives the same for a seed.
    public init(seed: UInt64) { state = seed }

    /// The next number.
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var bits = state
        bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
        bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
        return bits ^ (bits >> 31)
    }
}
