import Foundation

/// A measured value with its unit.
struct Figure: Sendable, Equatable {
    /// What a value counts, and how it is written.
    enum Unit: Sendable {
        case bytes
        case milliseconds
        case seconds
        case perSecond
        case megabytesPerSecond
        /// Of one core.
        case percent
        /// How many times as much as something else.
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
        case .milliseconds: "\(Self.digits(value)) ms"
        case .seconds: "\(Self.digits(value)) s"
        case .perSecond: "\(Self.digits(value))/s"
        case .megabytesPerSecond: "\(Self.digits(value)) MB/s"
        case .percent: "\(Self.digits(value)) %"
        case .times: "\(Self.digits(value)) ×"
        case .count: Self.digits(value)
        }
    }

    /// Three digits where there is a fraction, all digits in groups of three where there is none.
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

/// What a figure should come to.
enum Target: Sendable, Equatable {
    case atMost(Double)
    case atLeast(Double)
    /// Less than a peer's figure in the same run.
    case below(peer: String)
}
