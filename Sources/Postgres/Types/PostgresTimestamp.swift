import DurationUnits

/// A moment in microseconds, as in `timestamptz`.
public struct PostgresTimestamp: Hashable, Comparable, Sendable, PostgresArrayElement {
    /// Microseconds since 1970-01-01T00:00:00Z.
    ///
    /// The two ends of the range are PostgreSQL's infinities.
    public let microsecondsSinceEpoch: Int64

    /// Makes a moment.
    ///
    /// - Parameter microsecondsSinceEpoch: Microseconds since 1970-01-01T00:00:00Z.
    public init(microsecondsSinceEpoch: Int64) { self.microsecondsSinceEpoch = microsecondsSinceEpoch }

    /// The moment after every other moment.
    public static let infinity = PostgresTimestamp(microsecondsSinceEpoch: .max)

    /// The moment before every other moment.
    public static let negativeInfinity = PostgresTimestamp(microsecondsSinceEpoch: .min)

    /// Whether this is not one of the infinities.
    public var isFinite: Bool { self != .infinity && self != .negativeInfinity }

    /// Whether one moment is before another.
    ///
    /// - Parameters:
    ///   - one: A moment.
    ///   - other: Another moment.
    /// - Returns: Whether `one` is earlier.
    public static func < (one: PostgresTimestamp, other: PostgresTimestamp) -> Bool {
        one.microsecondsSinceEpoch < other.microsecondsSinceEpoch
    }

    /// PostgreSQL's epoch, 2000-01-01T00:00:00Z, in microseconds since 1970.
    private static let postgresEpoch: Int64 = 946_684_800_000_000

    /// The type `timestamptz`.
    public static var postgresType: PostgresType { .timestamptz }

    /// The type `timestamptz[]`.
    public static var postgresArrayType: PostgresType { .timestamptzArray }

    /// Writes microseconds since 2000.
    ///
    /// A moment that would leave the range becomes an infinity.
    public func encode(into buffer: inout PostgresBuffer) {
        guard isFinite else { return buffer.write(microsecondsSinceEpoch) }
        let (shifted, overflow) = microsecondsSinceEpoch.subtractingReportingOverflow(Self.postgresEpoch)
        buffer.write(overflow ? .min : shifted)
    }

    /// Reads `timestamptz`, and `timestamp` as UTC.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> PostgresTimestamp {
        guard type == .timestamptz || type == .timestamp else { throw PostgresDecodingFailure.typeMismatch }
        let value: Int64 = try bytes.postgresInteger()
        guard value != .max, value != .min else { return PostgresTimestamp(microsecondsSinceEpoch: value) }
        let (shifted, overflow) = value.addingReportingOverflow(postgresEpoch)
        if overflow { throw PostgresDecodingFailure.outOfRange }
        return PostgresTimestamp(microsecondsSinceEpoch: shifted)
    }
}

extension Duration: PostgresArrayElement {
    /// The type `interval`.
    public static var postgresType: PostgresType { .interval }

    /// The type `interval[]`.
    public static var postgresArrayType: PostgresType { .intervalArray }

    /// Writes microseconds, without days and months.
    ///
    /// An `interval` counts in microseconds. The nearest number is written; of two that are equally near, the even one,
    /// as in `make_interval`. A duration outside of the range becomes the greatest or the least number of microseconds.
    public func encode(into buffer: inout PostgresBuffer) {
        buffer.write(whole(.microseconds, .toNearest))
        buffer.write(Int32(0))
        buffer.write(Int32(0))
    }

    /// Reads `interval`.
    ///
    /// A day has 24 hours. An interval with months is refused, because a month has no fixed length.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> Duration {
        guard type == .interval else { throw PostgresDecodingFailure.typeMismatch }
        guard try bytes.postgresInteger(at: 12, as: Int32.self) == 0 else { throw PostgresDecodingFailure.outOfRange }
        let days = Int64(try bytes.postgresInteger(at: 8, as: Int32.self))
        return .microseconds(try bytes.postgresInteger(as: Int64.self)) + .seconds(days * 86400)
    }
}
