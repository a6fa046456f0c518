import Crypto
import Foundation

/// One migration that the binary carries: a file of plain SQL with its own BEGIN, ledger row and COMMIT.
public struct Migration: Sendable, Equatable {
    /// The number at the beginning of the file's name.
    public let version: Int
    /// The rest of the file's name, without its extension.
    public let name: String
    /// The file's text.
    public let sql: String
    /// The SHA-256 of the file, in hexadecimal.
    public let checksum: String

    /// The file's name: `0004_progress.sql`.
    public var filename: String {
        String(repeating: "0", count: max(0, 4 - String(version).count)) + "\(version)_\(name).sql"
    }

    init?(filename: String, contents: Data) {
        guard let match = filename.wholeMatch(of: /(\d{4})_([a-z0-9_]+)\.sql/)?.output, let version = Int(match.1)
        else {
            return nil
        }
        self.version = version
        name = String(match.2)
        sql = String(decoding: contents, as: UTF8.self)
        checksum = SHA256.hash(data: contents).map { String(format: "%02x", $0) }.joined()
    }

    /// All that the binary carries, in order.
    public static let carried: [Migration] = EmbeddedFiles.all
        .compactMap { Migration(filename: $0.key, contents: $0.value) }
        .sorted { $0.version < $1.version }
}

/// How the migrations that the binary carries stand to those that a database has seen.
public struct MigrationStatus: Sendable, Equatable {
    /// A migration in the ledger of a database.
    public struct Applied: Sendable, Equatable {
        public var version: Int
        public var name: String
        /// Nil when the file was run by psql.
        public var checksum: String?

        public init(version: Int, name: String, checksum: String?) {
            self.version = version
            self.name = name
            self.checksum = checksum
        }
    }

    /// Carried, not applied: in order, to be run.
    public var missing: [Migration] = []
    /// Applied with other contents than the binary carries.
    public var edited: [Migration] = []
    /// Applied by psql: the checksum is not in the ledger yet.
    public var unsigned: [Migration] = []
    /// Applied, not carried: the work of a newer binary.
    public var newer: [Applied] = []

    public init(carried: [Migration], applied: [Applied]) {
        let byVersion = Dictionary(applied.map { ($0.version, $0) }, uniquingKeysWith: { first, _ in first })
        for migration in carried {
            guard let row = byVersion[migration.version] else {
                missing.append(migration)
                continue
            }
            if row.checksum == nil {
                unsigned.append(migration)
            } else if row.checksum != migration.checksum {
                edited.append(migration)
            }
        }
        let known = Set(carried.map(\.version))
        newer = applied.filter { !known.contains($0.version) }
    }

    /// The schema is current when every migration that the binary carries is applied; newer ones are fine.
    public var isCurrent: Bool { missing.isEmpty }
}
