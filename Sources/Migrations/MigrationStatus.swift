/// How the files that the binary carries compare with the ledger of a database.
public struct MigrationStatus: Sendable, Equatable {
    /// A row of the ledger.
    public struct Applied: Sendable, Equatable {
        /// The kind of file, with the version or the revision that was applied.
        public var kind: Migration.Kind
        /// The file's name without folder and extension.
        public var name: String
        /// The SHA-256 of the file; nil when psql ran it.
        public var checksum: String?
        /// True when a code file before this one was applied at a new revision since: this one builds on it.
        public var isStale: Bool

        /// Makes a row of the ledger.
        public init(_ kind: Migration.Kind, name: String, checksum: String?, isStale: Bool = false) {
            self.kind = kind
            self.name = name
            self.checksum = checksum
            self.isStale = isStale
        }
    }

    /// Files to apply, in order: steps that never ran, and code whose revision rose, with the code behind it.
    public var missing: [Migration] = []
    /// Applied with other contents than the binary carries.
    public var edited: [Migration] = []
    /// Applied by psql: the ledger has no checksum yet.
    public var unsigned: [Migration] = []
    /// Steps and revisions in the ledger that a newer binary applied.
    public var newer: [Applied] = []

    /// Compares the files of a binary with the ledger of a database.
    public init(carried: [Migration], applied: [Applied]) {
        let rows = Dictionary(applied.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
        // Once one code file is due, so is every later one: files stand in the order of dependence.
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

    /// True when every file that the binary carries is applied; newer ones are fine.
    public var isCurrent: Bool { missing.isEmpty }

    /// How the revision in the ledger compares with a file's; a step has only one.
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
    /// The row for people: `9 audit`, or `code/010_text.sql, revision 7`.
    public var description: String {
        switch kind {
        case .step(let version): "\(version) \(name)"
        case .code(let revision): "code/\(name).sql, revision \(revision)"
        }
    }
}

/// What identifies a file in the ledger: a step's number, whose name may be another in another binary, or a code file's name.
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
