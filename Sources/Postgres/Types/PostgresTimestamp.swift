import DurationUnits

/// A moment in microseconds, as `timestamptz` keeps it.
public struct PostgresTimestamp: Hashable, Comparable, Sendable, PostgresArrayElement {
    /// Microseconds since 1970-01-01T00:00:00Z; the two ends of the range are PostgreSQL's infinities.
    public let microsecondsSinceEpoch: Int64

    /// Makes a moment from microseconds since 1970-01-01T00:00:00Z.
    public init(microsecondsSinceEpoch: Int64) { self.microsecondsSinceEpoch = microsecondsSinceEpoch }

    /// Later than every other moment.
    public static let infinity = PostgresTimestamp(microsecondsSinceEpoch: .max)

    /// Earlier than every other moment.
    public static let negativeInfinity = PostgresTimestamp(microsecondsSinceEpoch: .min)

    /// Whether this is a moment, rather than one of the infinities.
    public var isFinite: Bool { self != .infinity && self != .negativeInfinity }

    /// Earlier moments come first.
    public static func < (one: PostgresTimestamp, other: PostgresTimestamp) -> Bool {
        one.microsecondsSinceEpoch < other.microsecondsSinceEpoch
    }

    /// 2000-01-01T00:00:00Z, from which PostgreSQL counts, in microseconds since 1970.
    private static let postgresEpoch: Int64 = 946_684_800_000_000

    /// The type `timestamptz`.
    public static var postgresType: PostgresType { .timestamptz }

    /// The type `timestamptz[]`.
    public static var postgresArrayType: PostgresType { .timestamptzArray }

    /// Writes microseconds since 2000.
    ///
    /// What the shift would take out of the range becomes an infinity.
    public func encode(into buffer: inout PostgresBuffer) {
        guard isFinite else { return buffer.write(microsecondsSinceEpoch) }
        let (shifted, overflow) = microsecondsSinceEpoch.subtractingReportingOverflow(Self.postgresEpoch)
        buffer.write(overflow ? .min : shifted)
    }

    /// Reads `timestamptz`, and `timestamp` taken as UTC.
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

    /// Writes microseconds, with no days and no months.
    ///
    /// An `interval` counts in microseconds. The nearest one is written, of two equally near ones the even one, as
    /// `make_interval` does. What an `interval` cannot hold becomes its greatest or least number of microseconds.
    public func encode(into buffer: inout PostgresBuffer) {
        buffer.write(whole(.microseconds, .toNearest))
        buffer.write(Int32(0))
        buffer.write(Int32(0))
    }

    /// Reads `interval`; a day is 24 hours, and months, which have no length, are refused.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> Duration {
        guard type == .interval else { throw PostgresDecodingFailure.typeMismatch }
        guard try bytes.postgresInteger(at: 12, as: Int32.self) == 0 else { throw PostgresDecodingFailure.outOfRange }
        let days = Int64(try bytes.postgresInteger(at: 8, as: Int32.self))
        return .microseconds(try bytes.postgresInteger(as: Int64.self)) + .seconds(days * 86400)
    }
}
