/// Builds the text that Prometheus reads, in the text format 0.0.4.
///
/// Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>. "Lines are separated by a line feed
/// character (`\n`). The last line must end with a line feed character."
struct Exposition {
    private(set) var text = ""

    /// Begins a metric.
    ///
    /// "All lines for a given metric must be provided as one single group, with the optional `HELP` and `TYPE` lines
    /// first", and "only one `TYPE` line may exist for a given metric name".
    mutating func begin(_ name: String, type: String, help: String?) {
        if let help {
            // "The backslash and the line feed characters have to be escaped as `\\` and `\n`, respectively".
            let escaped = String(
                help.unicodeScalars.replacing("\\".unicodeScalars, with: "\\\\".unicodeScalars)
                    .replacing("\n".unicodeScalars, with: "\\n".unicodeScalars))
            text += "# HELP \(name) \(escaped)\n"
        }
        text += "# TYPE \(name) \(type)\n"
    }

    /// Adds a line with a value.
    mutating func sample(_ name: String, _ labels: LabelSet, _ value: String) {
        let braces = labels.text.isEmpty ? "" : "{\(labels.text)}"
        text += "\(name)\(braces) \(value)\n"
    }

    /// Adds the line of a histogram's bucket.
    ///
    /// A bucket is a line "with the name `x_bucket` and a label `{le="y"}` (where `y` is the upper bound of the
    /// bucket)".
    mutating func sample(_ name: String, _ labels: LabelSet, upTo bound: Double, _ value: String) {
        let others = labels.text.isEmpty ? "" : labels.text + ","
        text += "\(name){\(others)le=\"\(Self.number(bound))\"} \(value)\n"
    }

    /// Formats a number for Prometheus.
    ///
    /// "`value` is a float represented as required by Go's `ParseFloat()` function. In addition to standard numerical
    /// values, `NaN`, `+Inf`, and `-Inf` are valid values".
    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        // Below 2^53, a `Double` holds every whole number exactly.
        if abs(value) < 0x1p53, let whole = Int64(exactly: value) { return "\(whole)" }
        return "\(value)"
    }
}
