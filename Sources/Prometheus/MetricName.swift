/// Names as every version of Prometheus takes them.
///
/// The data model, <https://prometheus.io/docs/concepts/data_model/>: "Metric names SHOULD match the regex
/// `[a-zA-Z_:][a-zA-Z0-9_:]*`", but "colons (':') are reserved for user-defined recording rules"; "label names SHOULD match
/// the regex `[a-zA-Z_][a-zA-Z0-9_]*`", and "label names beginning with `__` (two underscores) MUST be reserved for internal
/// Prometheus use". What has other characters, as the dots and dashes of some libraries, gets underscores.
enum MetricName {
    /// The name of a metric, with the suffix that its kind calls for.
    ///
    /// "An accumulating count has `total` as a suffix, in addition to the unit if applicable"
    /// (<https://prometheus.io/docs/practices/naming/>); what a timer measures is told in seconds.
    static func metric(_ label: String, suffix: String = "") -> String {
        let name = identifier(label)
        return name.hasSuffix(suffix) ? name : name + suffix
    }

    /// The name of a label.
    ///
    /// "A histogram MUST NOT allow le as a user-set label" (<https://prometheus.io/docs/instrumenting/writing_clientlibs/>).
    static func label(_ dimension: String) -> String {
        let name = identifier(dimension)
        if name == "le" { return "exported_le" }
        return name.hasPrefix("__") ? "_" + name.drop { $0 == "_" } : name
    }

    private static func identifier(_ text: String) -> String {
        let bytes = text.utf8.map { isAllowed($0) ? $0 : UInt8(ascii: "_") }
        guard let first = bytes.first else { return "_" }
        let isDigit = (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first)
        return (isDigit ? "_" : "") + String(decoding: bytes, as: UTF8.self)
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}
