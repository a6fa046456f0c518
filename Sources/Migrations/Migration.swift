import Crypto
import FoundationEssentials
import TextForms

/// One SQL file of the binary, with its own BEGIN, ledger row and COMMIT.
///
/// A *step* (`0004_progress.sql`) makes roles, tables, database indexes and seed rows. It runs once. A *code file*
/// (`code/010_text.sql`) holds the whole present code of one subject: functions, triggers, policies and grants. It may
/// run any number of times, and runs again when its revision rises.
public struct Migration: Sendable, Equatable {
    /// The kind of a file, with the number that decides whether the file is applied.
    public enum Kind: Sendable, Equatable {
        /// Runs once. The version is the number at the beginning of the file's name.
        case step(version: Int)
        /// Runs again when the number in its line `-- revision: N` is higher than in the ledger.
        case code(revision: Int)
    }

    /// The kind of the file.
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

    /// The statements without the lines `BEGIN;` and `COMMIT;`, for a transaction with several files.
    var statements: String {
        sql.split(separator: "\n", omittingEmptySubsequences: false)
            .filter { $0 != "BEGIN;" && $0 != "COMMIT;" }
            .joined(separator: "\n")
    }

    /// Reads a file.
    ///
    /// The form of its name decides the kind: four digits for a step, three for a code file.
    ///
    /// - Returns: Nil if the name has neither form, or a code file has no line `-- revision: N`.
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
        checksum = SHA256.hash(data: contents).hexadecimal
    }

    /// All files of the binary in the order of application: first the steps, then the code files.
    public static let carried: [Migration] = EmbeddedFiles.all
        .compactMap { Migration(filename: $0.key, contents: $0.value) }
        .sorted { ($0.isCode ? 1 : 0, $0.name) < ($1.isCode ? 1 : 0, $1.name) }

    /// The line of a code file in `migrations/code/checksums.txt`: name, revision, checksum.
    ///
    /// Nil for a step.
    package var checksumLine: String? {
        guard case .code(let revision) = kind else { return nil }
        return "\(name) \(revision) \(checksum)"
    }

    /// Finds the code file that has a function of the schema `app`.
    ///
    /// - Parameter name: The name of the function without its schema.
    /// - Returns: The path below `migrations/`.
    package static func file(ofFunction name: String) -> String? {
        carried.first { $0.isCode && $0.sql.contains("\nCREATE OR REPLACE FUNCTION app.\(name)(") }?.filename
    }

    /// Whether this is a code file.
    public var isCode: Bool {
        if case .code = kind { true } else { false }
    }
}

extension Migration: CustomStringConvertible {
    /// The path of the file.
    public var description: String { filename }
}
