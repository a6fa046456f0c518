/// The labels that tell one series of a metric from the others.
///
/// The order of the dimensions does not matter: they are kept sorted, and as the text that they are rendered with.
struct LabelSet: Hashable, Comparable {
    /// The labels' names, sorted.
    let names: [String]
    /// `name="value"` pairs with commas between, as they stand within the braces.
    let text: String

    /// Sorts, names and escapes dimensions.
    ///
    /// Of two with the same name the first counts: a line names each label once.
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

    /// The series that takes what is too much for the others.
    var overflow: LabelSet { LabelSet(names.map { ($0, "other") }) }

    static func < (left: LabelSet, right: LabelSet) -> Bool { left.text < right.text }

    /// "`label_value` can be any sequence of UTF-8 characters, but the backslash (`\`), double-quote (`"`), and line feed
    /// (`\n`) characters have to be escaped as `\\`, `\"`, and `\n`, respectively" (exposition formats, line format).
    private static func escaped(_ value: String) -> String {
        value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
    }
}
