import Foundation

/// A measured value with its unit.
struct Figure: Sendable, Equatable {
    /// The unit of a value, which also decides its format.
    enum Unit: Sendable {
        case bytes
        case microseconds
        case milliseconds
        case seconds
        case perSecond
        case megabytesPerSecond
        /// Per cent of one core.
        case percent
        /// A ratio.
        case times
        case count
    }

    var value: Double
    var unit: Unit

    init(_ value: Double, _ unit: Unit) {
        self.value = value
        self.unit = unit
    }

    init(_ value: Int, _ unit: Unit) { self.init(Double(value), unit) }
}

extension Figure: CustomStringConvertible {
    var description: String {
        switch unit {
        case .bytes: abs(value) < 1e6 ? "\(Self.digits(value / 1e3)) kB" : "\(Self.digits(value / 1e6)) MB"
        case .microseconds: "\(Self.digits(value)) µs"
        case .milliseconds: "\(Self.digits(value)) ms"
        case .seconds: "\(Self.digits(value)) s"
        case .perSecond: "\(Self.digits(value))/s"
        case .megabytesPerSecond: "\(Self.digits(value)) MB/s"
        case .percent: "\(Self.digits(value)) %"
        case .times: "\(Self.digits(value)) ×"
        case .count: Self.digits(value)
        }
    }

    /// Formats a fraction with three digits, and a whole number with all digits in groups of three.
    private static func digits(_ value: Double) -> String {
        let size = abs(value)
        if size < 100, value != value.rounded() { return String(format: size < 10 ? "%.2f" : "%.1f", value) }
        let digits = String(format: "%.0f", size)
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index).isMultiple(of: 3) { text += "," }
            text.append(digit)
        }
        return (value < 0 ? "-" : "") + text
    }
}

/// The target of a figure.
enum Target: Sendable, Equatable {
    case atMost(Double)
    case atLeast(Double)
    /// Lower than a peer's figure in the same run.
    case below(peer: String)
}
