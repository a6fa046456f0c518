/// A unit in which a duration is counted.
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

/// What becomes of a fraction of a unit.
public enum DurationRounding: Sendable {
    /// The fraction is cut off.
    case towardZero
    /// A fraction counts as a whole unit, towards later.
    case up
    /// The nearest whole unit counts, of two equally near ones the even one.
    case toNearest
}

extension Duration {
    /// The duration as a whole number of units.
    ///
    /// - Parameters:
    ///   - unit: What is counted.
    ///   - rounding: What becomes of a fraction of a unit.
    /// - Returns: The number; the nearest that an `Int64` holds where there are more units than that.
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
