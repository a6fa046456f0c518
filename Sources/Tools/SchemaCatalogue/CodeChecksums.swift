/// The list of code files with the checksum that each revision has: `migrations/code/checksums.txt`.
///
/// A line holds name, revision and checksum; lines that begin with `#` are passed over.
public struct CodeChecksums: Sendable {
    /// The comment at the head of the list.
    public static let preface = """
        # Name, revision and SHA-256 of each file of this folder. Written by `make schema`, which refuses a file that changed
        # without a higher revision.

        """

    private var lines: [String: (revision: Int, checksum: Substring)] = [:]

    /// Reads a list; what is no line of it is passed over.
    public init(_ text: String) {
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            let words = line.split(separator: " ")
            guard words.count == 3, let revision = Int(words[1]) else { continue }
            lines[String(words[0])] = (revision, words[2])
        }
    }

    /// The names of the files that have other contents in `present` and no higher revision, in order.
    public func unraised(in present: CodeChecksums) -> [String] {
        lines.filter { name, recorded in
            guard let now = present.lines[name] else { return false }
            return now.checksum != recorded.checksum && now.revision <= recorded.revision
        }.keys.sorted()
    }
}
