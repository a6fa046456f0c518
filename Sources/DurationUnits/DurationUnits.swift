/// A unit of a duration.
public enum DurationUnit: Sendable, CaseIterable {
    case seconds, milliseconds, microseconds

    /// The unit in attoseconds, the resolution of `Duration`.
    var attoseconds: Int128 {
        switch self {
        case .seconds: 1_000_000_000_000_000_000
        case .milliseconds: 1_000_000_000_000_000
        case .microseconds: 1_000_000_000_000
        }
    }
}

/// What happens to a fraction of a unit.
public enum DurationRounding: Sendable {
    /// Drops the fraction.
    case towardZero
    /// Counts a fraction as a whole unit, towards later.
    case up
    /// Rounds to the nearest unit. A half rounds to the even number.
    case toNearest
}

extension Duration {
    /// Converts the duration to a whole number of units.
    ///
    /// - Parameters:
    ///   - unit: The unit of the result.
    ///   - rounding: What happens to a fraction of a unit.
    /// - Returns: The number, or the nearest number that an `Int64` can hold.
    public func whole(_ unit: DurationUnit, _ rounding: DurationRounding = .towardZero) -> Int64 {
        let (quotient, remainder) = attoseconds.quotientAndRemainder(dividingBy: unit.attoseconds)
        let correction: Int128 =
            switch rounding {
            case .towardZero: 0
            case .up: remainder > 0 ? 1 : 0
            case .toNearest:
                switch Int128(remainder.magnitude * 2) - unit.attoseconds {
                case 0: quotient.isMultiple(of: 2) ? 0 : remainder.signum()
                case let excess: excess > 0 ? remainder.signum() : 0
                }
            }
        return Int64(clamping: quotient + correction)
    }
}
