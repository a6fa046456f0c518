/// Names that every version of Prometheus accepts.
///
/// The data model, <https://prometheus.io/docs/concepts/data_model/>: "Metric names SHOULD match the regex
/// `[a-zA-Z_:][a-zA-Z0-9_:]*`", but "colons (':') are reserved for user-defined recording rules"; "label names SHOULD
/// match the regex `[a-zA-Z_][a-zA-Z0-9_]*`", and "label names beginning with `__` (two underscores) MUST be reserved
/// for internal Prometheus use". Other characters become underscores.
enum MetricName {
    /// The name of a metric, with the suffix of its kind.
    ///
    /// "An accumulating count has `total` as a suffix, in addition to the unit if applicable"
    /// (<https://prometheus.io/docs/practices/naming/>). Timers measure seconds.
    static func metric(_ label: String, suffix: String = "") -> String {
        let name = identifier(label)
        return name.hasSuffix(suffix) ? name : name + suffix
    }

    /// The name of a label.
    ///
    /// "A histogram MUST NOT allow le as a user-set label"
    /// (<https://prometheus.io/docs/instrumenting/writing_clientlibs/>).
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

/// The labels that distinguish one series of a metric from the others.
///
/// The order of the dimensions does not matter. This type keeps them sorted, as rendered text.
struct LabelSet: Hashable, Comparable {
    /// The names of the labels, sorted.
    let names: [String]
    /// The pairs `name="value"` with commas between, as inside the braces.
    let text: String

    /// Sorts, names and escapes dimensions.
    ///
    /// The first of two dimensions with the same name counts, because a line may name each label once.
    init(_ dimensions: [(String, String)]) {
        var pairs: [(name: String, value: String)] = []
        for (dimension, value) in dimensions {
            let name = MetricName.label(dimension)
            if !pairs.contains(where: { $0.name == name }) { pairs.append((name, value)) }
        }
        pairs.sort { $0.name < $1.name }
        names = pairs.map(\.name)
        text = pairs.map { "\($0.name)=\"\(Self.escaped($0.value))\"" }.joined(separator: ",")
    }

    /// The labels of the series for all values above the limit.
    var overflow: LabelSet { LabelSet(names.map { ($0, "other") }) }

    static func < (left: LabelSet, right: LabelSet) -> Bool { left.text < right.text }

    /// "`label_value` can be any sequence of UTF-8 characters, but the backslash (`\`), double-quote (`"`), and line
    /// feed (`\n`) characters have to be escaped as `\\`, `\"`, and `\n`, respectively" (exposition formats, line
    /// format).
    ///
    /// A backslash with a combining mark is one `Character`, as is a carriage return with a line feed.
    private static func escaped(_ value: String) -> String {
        String(
            value.unicodeScalars.replacing("\\".unicodeScalars, with: "\\\\".unicodeScalars)
                .replacing("\"".unicodeScalars, with: "\\\"".unicodeScalars)
                .replacing("\n".unicodeScalars, with: "\\n".unicodeScalars))
    }
}
