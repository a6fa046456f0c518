/// The list of code files with the checksum of each revision: `migrations/code/checksums.txt`.
///
/// A line has name, revision and checksum. Lines that begin with `#` are comments.
public struct CodeChecksums: Sendable {
    /// The comment at the beginning of the list.
    public static let preface = """
        # Name, revision and SHA-256 of each file of this folder. Written by `make schema`, which refuses a file that changed
        # without a higher revision.

        """

    private var lines: [String: (revision: Int, checksum: Substring)] = [:]

    /// Reads a list.
    ///
    /// Skips malformed lines.
    ///
    /// - Parameter text: The content of the file.
    public init(_ text: String) {
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            let words = line.split(separator: " ")
            guard words.count == 3, let revision = Int(words[1]) else { continue }
            lines[String(words[0])] = (revision, words[2])
        }
    }

    /// Finds the files whose contents differ in `present` without a higher revision.
    ///
    /// - Parameter present: The present code files.
    /// - Returns: The names of the files, sorted.
    public func unraised(in present: CodeChecksums) -> [String] {
        lines.filter { name, recorded in
            guard let now = present.lines[name] else { return false }
            return now.checksum != recorded.checksum && now.revision <= recorded.revision
        }.keys.sorted()
    }
}
