import Foundation

/// The document that holds the table, between two markers.
struct BenchmarkDocument {
    /// A document without the two markers, each on a line of its own, in this order.
    struct MarkersMissing: Error, CustomStringConvertible {
        var description: String {
            "the document has no place for the table: it needs the lines \(begin) and \(end)"
        }
    }

    private static let begin = "<!-- The table of make bench: begin -->"
    private static let end = "<!-- The table of make bench: end -->"

    private let before: String
    private let after: String
    /// The table that stands there now; nil when there is none.
    let table: BenchmarkTable?

    init(text: String) throws(MarkersMissing) {
        guard let begin = text.firstRange(of: Self.begin + "\n"),
            let end = text[begin.upperBound...].firstRange(of: Self.end)
        else { throw MarkersMissing() }
        before = String(text[..<begin.upperBound])
        after = String(text[end.lowerBound...])
        table = BenchmarkTable(text[begin.upperBound..<end.lowerBound])
    }

    /// The document with another table.
    func text(with table: BenchmarkTable) -> String { "\(before)\n\(table.text)\n\(after)" }
}
