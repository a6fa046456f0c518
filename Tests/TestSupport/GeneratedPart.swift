import Foundation
import Synchronization

/// A part of a page of `docs/` that comes from the code.
///
/// It has the lines between `<!-- NAME:begin -->` and `<!-- NAME:end -->`, which may be in any page. `make docs` writes
/// the parts. Otherwise, a part that differs fails its test.
public struct GeneratedPart {
    /// The name in the markers.
    private let name: String

    /// Refers to the part with a name.
    public init(name: String) { self.name = name }

    /// Keeps two parts of one page from being written at the same time.
    private static let pages = Mutex(())

    private static let isWriting = ProcessInfo.processInfo.environment["WRITE_DOCS"] == "1"

    /// Compares the part with the text from the code, or writes it.
    ///
    /// - Throws: ``Fault`` if the part differs, or if its markers are not in exactly one page.
    public func hold(_ text: String) throws {
        try Self.pages.withLock { _ in
            let (page, contents) = try page()
            guard let begin = contents.firstRange(of: "<!-- \(name):begin -->\n"),
                let end = contents[begin.upperBound...].firstRange(of: "<!-- \(name):end -->")
            else { throw Fault(part: name, reason: "has no end in docs/\(page.lastPathComponent)") }
            let part = begin.upperBound..<end.lowerBound
            let wanted = "\n\(text)\n\n"
            if contents[part] == wanted { return }
            guard Self.isWriting else {
                throw Fault(
                    part: name, reason: "in docs/\(page.lastPathComponent) differs from the code; run: make docs")
            }
            try Data(contents.replacingCharacters(in: part, with: wanted).utf8).write(to: page)
        }
    }

    /// The page with the markers, and its text.
    private func page() throws -> (URL, String) {
        let docs = packageRoot.appending(path: "docs")
        let pages = try FileManager.default.contentsOfDirectory(at: docs, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "md" }
            .map { ($0, try String(contentsOf: $0, encoding: .utf8)) }
            .filter { $0.1.contains("<!-- \(name):begin -->") }
        guard pages.count == 1 else { throw Fault(part: name, reason: "is in \(pages.count) pages of docs") }
        return pages[0]
    }

    /// Why a part of the documentation fails its test.
    struct Fault: Error, CustomStringConvertible {
        let part: String
        let reason: String
        var description: String { "the part \"\(part)\" \(reason)" }
    }
}

/// A table in Markdown.
public func table(_ head: [String], _ rows: [[String]]) -> String {
    func line(_ cells: [String]) -> String {
        "|" + cells.map { $0.isEmpty ? " |" : " \($0.trimmingCharacters(in: .whitespaces)) |" }.joined()
    }
    let rule = "|" + String(repeating: "---|", count: head.count)
    // A bar would end the cell.
    let body = rows.map { row in line(row.map { $0.replacing("|", with: "\\|") }) }
    return ([line(head), rule] + body).joined(separator: "\n")
}
