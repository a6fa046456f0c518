import Foundation
import Synchronization
import TestSupport

/// A part of a page of `docs/` that comes from the code: what stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`.
///
/// The markers may stand in any page. `make docs` writes the parts anew; without it, a part that differs fails its test.
struct GeneratedPart {
    /// The name in the markers.
    let name: String

    /// Two parts of one page are not to be written at the same time.
    private static let pages = Mutex(())

    private static let isWriting = ProcessInfo.processInfo.environment["WRITE_DOCS"] == "1"

    /// Compares the part with the text that the code gives, or writes it.
    ///
    /// - Throws: ``Fault`` when the part differs, or its markers do not stand in exactly one page.
    func hold(_ text: String) throws {
        try Self.pages.withLock { _ in
            let (page, contents) = try page()
            guard let begin = contents.firstRange(of: "<!-- \(name):begin -->\n"),
                let end = contents[begin.upperBound...].firstRange(of: "<!-- \(name):end -->")
            else { throw Fault(part: name, reason: "lacks its end in docs/\(page.lastPathComponent)") }
            let part = begin.upperBound..<end.lowerBound
            let wanted = "\n\(text)\n\n"
            if contents[part] == wanted { return }
            guard Self.isWriting else {
                throw Fault(
                    part: name, reason: "in docs/\(page.lastPathComponent) is not what the code says; run: make docs")
            }
            try Data(contents.replacingCharacters(in: part, with: wanted).utf8).write(to: page)
        }
    }

    /// The page that has the markers, and its text.
    private func page() throws -> (URL, String) {
        let docs = packageRoot.appending(path: "docs")
        let pages = try FileManager.default.contentsOfDirectory(at: docs, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "md" }
            .map { ($0, try String(contentsOf: $0, encoding: .utf8)) }
            .filter { $0.1.contains("<!-- \(name):begin -->") }
        guard pages.count == 1 else { throw Fault(part: name, reason: "stands in \(pages.count) pages of docs") }
        return pages[0]
    }

    /// Why a part of the documentation does not hold.
    struct Fault: Error, CustomStringConvertible {
        let part: String
        let reason: String
        var description: String { "the part \"\(part)\" \(reason)" }
    }
}

/// A table in Markdown.
func table(_ head: [String], _ rows: [[String]]) -> String {
    func line(_ cells: [String]) -> String {
        "|" + cells.map { $0.isEmpty ? " |" : " \($0.trimmingCharacters(in: .whitespaces)) |" }.joined()
    }
    let rule = "|" + String(repeating: "---|", count: head.count)
    // A bar in a cell would end it.
    let body = rows.map { row in line(row.map { $0.replacing("|", with: "\\|") }) }
    return ([line(head), rule] + body).joined(separator: "\n")
}
