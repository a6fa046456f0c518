/// The difference between the files of the binary and the ledger of a database.
public struct MigrationStatus: Sendable, Equatable {
    /// A row of the ledger.
    public struct Applied: Sendable, Equatable {
        /// The kind of the file, with the version or revision that was applied.
        public var kind: Migration.Kind
        /// The file's name without folder and extension.
        public var name: String
        /// The SHA-256 of the file, or nil if psql ran it.
        public var checksum: String?
        /// True if the code of an earlier file has changed since.
        ///
        /// This file depends on it and must run again.
        public var isStale: Bool

        /// Makes a row of the ledger.
        ///
        /// - Parameters:
        ///   - kind: The kind of the file, with the applied version or revision.
        ///   - name: The name of the file without folder and extension.
        ///   - checksum: The SHA-256 of the file, or nil if psql ran it.
        ///   - isStale: True if an earlier code file has changed since.
        public init(_ kind: Migration.Kind, name: String, checksum: String?, isStale: Bool = false) {
            self.kind = kind
            self.name = name
            self.checksum = checksum
            self.isStale = isStale
        }
    }

    /// The files to apply, in order: new steps, code files with a higher revision, and all code files after those.
    public var missing: [Migration] = []
    /// The files whose applied contents differ from the binary's.
    public var edited: [Migration] = []
    /// The files that psql applied.
    ///
    /// The ledger has no checksum of them yet.
    public var unsigned: [Migration] = []
    /// The steps and revisions in the ledger that only a newer binary has.
    public var newer: [Applied] = []

    /// Compares the files of a binary with the ledger of a database.
    ///
    /// - Parameters:
    ///   - carried: The files of the binary, in order.
    ///   - applied: The rows of the ledger.
    public init(carried: [Migration], applied: [Applied]) {
        let rows = Dictionary(applied.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
        // The files are in the order of dependence. After one due code file, all later ones are due.
        var isCodeDue = false
        for file in carried {
            guard let row = rows[file.key] else {
                isCodeDue = isCodeDue || file.isCode
                missing.append(file)
                continue
            }
            let revision = Revision(of: file, in: row)
            if revision == .newer { continue }
            if revision == .same, let checksum = row.checksum, checksum != file.checksum { edited.append(file) }
            if file.isCode, isCodeDue || revision == .older || row.isStale {
                isCodeDue = true
                missing.append(file)
            } else if row.checksum == nil {
                unsigned.append(file)
            }
        }
        let files = Dictionary(carried.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
        newer = applied.filter { row in files[row.key].map { Revision(of: $0, in: row) == .newer } ?? true }
    }

    /// True if all files of the binary are applied.
    ///
    /// Newer files in the ledger do not matter.
    public var isCurrent: Bool { missing.isEmpty }

    /// Compares the revision in the ledger with the file's.
    ///
    /// A step has no revision.
    private enum Revision {
        case older, same, newer

        init(of file: Migration, in row: Applied) {
            guard case .code(let carried) = file.kind, case .code(let applied) = row.kind else {
                self = .same
                return
            }
            self = applied < carried ? .older : applied > carried ? .newer : .same
        }
    }
}

extension MigrationStatus.Applied: CustomStringConvertible {
    /// The row as text: `9 audit`, or `code/010_text.sql, revision 7`.
    public var description: String {
        switch kind {
        case .step(let version): "\(version) \(name)"
        case .code(let revision): "code/\(name).sql, revision \(revision)"
        }
    }
}

/// The identity of a file in the ledger: the number of a step, or the name of a code file.
///
/// The name of a step may differ between two binaries.
private enum LedgerKey: Hashable {
    case step(Int)
    case code(String)

    init(_ kind: Migration.Kind, name: String) {
        switch kind {
        case .step(let version): self = .step(version)
        case .code: self = .code(name)
        }
    }
}

extension Migration {
    fileprivate var key: LedgerKey { LedgerKey(kind, name: name) }
}

extension MigrationStatus.Applied {
    fileprivate var key: LedgerKey { LedgerKey(kind, name: name) }
}
