import Crypto
import Foundation

/// One file of SQL that the binary carries, with its own BEGIN, ledger row and COMMIT.
///
/// There are two kinds. A *step* (`0004_progress.sql`) makes roles, tables, indexes and seed rows; it runs once. A *code file*
/// (`code/010_text.sql`) holds the whole present code of one subject: functions, triggers, policies and grants. It is safe to
/// run again, and is applied whenever its revision rises.
public struct Migration: Sendable, Equatable {
    /// What decides whether a file has to be applied.
    public enum Kind: Sendable, Equatable {
        /// Runs once; the number at the beginning of the file's name.
        case step(version: Int)
        /// Is applied again whenever the number in its line `-- revision: N` is higher than the ledger's.
        case code(revision: Int)
    }

    /// What decides whether the file has to be applied.
    public let kind: Kind
    /// The file's name without folder and extension: `0004_progress`, `010_text`.
    public let name: String
    /// The file's text.
    public let sql: String
    /// The SHA-256 of the file, in hexadecimal.
    public let checksum: String

    /// The file's path below `migrations/`: `0004_progress.sql`, `code/010_text.sql`.
    public var filename: String {
        switch kind {
        case .step: "\(name).sql"
        case .code: "code/\(name).sql"
        }
    }

    /// The file's statements without the lines `BEGIN;` and `COMMIT;`, for a transaction that holds several files.
    var statements: String {
        sql.split(separator: "\n", omittingEmptySubsequences: false)
            .filter { $0 != "BEGIN;" && $0 != "COMMIT;" }
            .joined(separator: "\n")
    }

    /// Reads a file by the form of its name: four digits make a step, three a code file.
    ///
    /// - Returns: Nil when the name has neither form, or a code file lacks its line `-- revision: N`.
    init?(filename: String, contents: Data) {
        let text = String(decoding: contents, as: UTF8.self)
        if let match = filename.wholeMatch(of: /(\d{4})_[a-z0-9_]+\.sql/), let version = Int(match.output.1) {
            kind = .step(version: version)
        } else if filename.wholeMatch(of: /\d{3}_[a-z0-9_]+\.sql/) != nil,
            let match = text.firstMatch(of: /(?m)^-- revision: ([1-9]\d{0,8})$/), let revision = Int(match.output.1)
        {
            kind = .code(revision: revision)
        } else {
            return nil
        }
        name = String(filename.dropLast(4))
        sql = text
        checksum = SHA256.hash(data: contents).map { String(format: "%02x", $0) }.joined()
    }

    /// All that the binary carries, in the order in which they are applied: the steps, then the code.
    public static let carried: [Migration] = EmbeddedFiles.all
        .compactMap { Migration(filename: $0.key, contents: $0.value) }
        .sorted { ($0.isCode ? 1 : 0, $0.name) < ($1.isCode ? 1 : 0, $1.name) }

    /// The line of `migrations/code/checksums.txt` for a code file: name, revision, checksum; nil for a step.
    package var checksumLine: String? {
        guard case .code(let revision) = kind else { return nil }
        return "\(name) \(revision) \(checksum)"
    }

    /// The path below `migrations/` of the code file that holds a function of the schema `app`.
    package static func file(ofFunction name: String) -> String? {
        carried.first { $0.isCode && $0.sql.contains("\nCREATE OR REPLACE FUNCTION app.\(name)(") }?.filename
    }

    /// Whether this is a code file.
    public var isCode: Bool {
        if case .code = kind { true } else { false }
    }
}
