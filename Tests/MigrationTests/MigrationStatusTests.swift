import Foundation
import Testing

@testable import Migrations

/// How carried and applied migrations are compared: a value, without a database.
@Suite struct MigrationStatusTests {
    private let one = migration("0001_one.sql", "SELECT 1;")
    private let two = migration("0002_two.sql", "SELECT 2;")
    private let three = migration("0003_three.sql", "SELECT 3;")

    private func applied(_ migration: Migration, checksum: String?) -> MigrationStatus.Applied {
        .init(migration.kind, name: migration.name, checksum: checksum)
    }

    @Test("on an empty ledger all is missing, in order")
    func empty() {
        let status = MigrationStatus(carried: [one, two, three], applied: [])
        #expect(status.missing == [one, two, three])
        #expect(!status.isCurrent)
        #expect(status.edited.isEmpty)
        #expect(status.unsigned.isEmpty)
        #expect(status.newer.isEmpty)
    }

    @Test("what is applied with its checksum is neither missing nor edited")
    func current() {
        let status = MigrationStatus(
            carried: [one, two], applied: [one, two].map { applied($0, checksum: $0.checksum) })
        #expect(status.isCurrent)
        #expect(status == MigrationStatus(carried: [], applied: []))
    }

    @Test("another checksum means edited, none means that psql ran it; both are applied")
    func editedAndUnsigned() {
        let status = MigrationStatus(
            carried: [one, two], applied: [applied(one, checksum: two.checksum), applied(two, checksum: nil)])
        #expect(status.edited == [one])
        #expect(status.unsigned == [two])
        #expect(status.isCurrent)
    }

    @Test("what only the database knows is newer, and fine")
    func newer() {
        let status = MigrationStatus(
            carried: [one], applied: [applied(one, checksum: one.checksum), applied(three, checksum: three.checksum)])
        #expect(status.isCurrent)
        #expect(status.newer == [applied(three, checksum: three.checksum)])
    }

    @Test("a gap is missing, also below what is applied")
    func gap() {
        let status = MigrationStatus(
            carried: [one, two, three], applied: [one, three].map { applied($0, checksum: nil) })
        #expect(status.missing == [two])
        #expect(!status.isCurrent)
    }

    @Test(
        "a file's name is four digits, or three for code, an underscore, words and .sql",
        arguments: [
            "1_x.sql", "00001_x.sql", "0001-x.sql", "0001_X.sql", "0001_x.sql.orig", "0001_.sql", "readme.md",
            "01_x.sql",
            "001-x.sql", "001_X.sql", "001_x.sql.orig", "001_.sql",
        ])
    func strangeNames(name: String) {
        #expect(Migration(filename: name, contents: Data("-- revision: 1\n".utf8)) == nil)
    }

    @Test(
        "a code file says its revision in a line of its own",
        arguments: [
            ("-- revision: 1", 1), ("-- What it is.\n-- revision: 42\nBEGIN;", 42), ("", nil), ("-- revision: 0", nil),
            ("-- revision: -1", nil), ("-- revision: 01", nil), ("-- revision: 1.5", nil), ("-- revision: x", nil),
            ("SELECT '-- revision: 1'", nil), ("-- revision: 99999999999999999999", nil),
        ] as [(String, Int?)])
    func revision(text: String, revision: Int?) {
        let file = Migration(filename: "010_text.sql", contents: Data(text.utf8))
        #expect(file?.kind == revision.map { .code(revision: $0) })
    }

    @Test("a file's name comes back out of its parts, and its checksum is that of its bytes")
    func parts() {
        let migration = migration("0042_more_words.sql", "abc")
        #expect(migration.kind == .step(version: 42))
        #expect(migration.name == "0042_more_words")
        #expect(migration.filename == "0042_more_words.sql")
        // The example of FIPS 180-2, appendix B.1.
        #expect(migration.checksum == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    @Test("a step's statements for a larger transaction lack its own BEGIN and COMMIT, and nothing else")
    func statements() {
        let file = migration(
            "0001_x.sql",
            """
            BEGIN;
            CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$
            BEGIN
                RETURN;
            END
            $$;
            COMMIT;
            """)
        #expect(
            file.statements == """
                CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$
                BEGIN
                    RETURN;
                END
                $$;
                """)
    }

    @Test("the binary carries steps from 1 on, without a gap, and then the code")
    func carried() {
        #expect(carriedSteps.count >= 6)
        #expect(carriedSteps.map(\.kind) == (1...carriedSteps.count).map { .step(version: $0) })
        #expect(carriedCode.count >= 6)
        #expect(carriedCode.first?.name == "000_ledger")
        #expect(Migration.carried == carriedSteps + carriedCode)
    }

    @Test(
        "every carried file has one BEGIN and one COMMIT, and enters itself under its own name",
        arguments: Migration.carried)
    func form(file: Migration) {
        let lines = file.sql.split(separator: "\n")
        #expect(lines.filter { $0 == "BEGIN;" }.count == 1)
        #expect(lines.filter { $0 == "COMMIT;" }.count == 1)
        #expect(lines.last == "COMMIT;")
        switch file.kind {
        case .step(let version):
            let name = file.name.dropFirst(5)
            #expect(
                file.sql.contains("INSERT INTO app.schema_migrations (version, name) VALUES (\(version), '\(name)');"))
        case .code(let revision):
            #expect(file.sql.contains("DO $$ BEGIN PERFORM app.enter_code('\(file.name)', \(revision)); END $$;"))
        }
    }
}

/// How code files compare with the ledger: by revision, in the order of dependence.
@Suite struct CodeStatusTests {
    private let step = migration("0001_one.sql", "SELECT 1;")

    private func code(_ name: String, _ revision: Int, _ body: String = "") -> Migration {
        codeFile(name, revision: revision, body)
    }

    private func applied(_ file: Migration, checksum: String? = "", isStale: Bool = false) -> MigrationStatus.Applied {
        .init(file.kind, name: file.name, checksum: checksum == "" ? file.checksum : checksum, isStale: isStale)
    }

    @Test("a file that is not in the ledger is missing, after every step")
    func missing() {
        let status = MigrationStatus(carried: [step, code("010_a", 1), code("020_b", 1)], applied: [])
        #expect(status.missing == [step, code("010_a", 1), code("020_b", 1)])
        #expect(!status.isCurrent)
    }

    @Test("when a revision rises, that file and every later one are applied again, and no earlier one")
    func raised() {
        let ledger = [applied(code("010_a", 1)), applied(code("020_b", 1)), applied(code("030_c", 1))]
        let status = MigrationStatus(
            carried: [code("010_a", 1), code("020_b", 2), code("030_c", 1)], applied: ledger)
        #expect(status.missing == [code("020_b", 2), code("030_c", 1)])
        #expect(status.edited.isEmpty)
        #expect(status.newer.isEmpty)
    }

    @Test("a new file between others is applied with every later one")
    func inserted() {
        let ledger = [applied(code("010_a", 1)), applied(code("030_c", 1))]
        let status = MigrationStatus(
            carried: [code("010_a", 1), code("020_b", 1), code("030_c", 1)], applied: ledger)
        #expect(status.missing == [code("020_b", 1), code("030_c", 1)])
    }

    @Test("a higher revision in the ledger is current, also behind a file that is applied again")
    func newer() {
        let ledger = [applied(code("010_a", 1)), applied(code("020_b", 3)), applied(code("030_c", 1))]
        let old = MigrationStatus(carried: [code("010_a", 1), code("020_b", 2), code("030_c", 1)], applied: ledger)
        #expect(old.isCurrent)
        #expect(old.newer == [applied(code("020_b", 3))])
        let next = MigrationStatus(carried: [code("010_a", 2), code("020_b", 2), code("030_c", 1)], applied: ledger)
        #expect(next.missing == [code("010_a", 2), code("030_c", 1)])
        #expect(next.newer == [applied(code("020_b", 3))])
    }

    @Test("a file that only a newer binary has is fine")
    func unknown() {
        let status = MigrationStatus(
            carried: [code("010_a", 1)], applied: [applied(code("010_a", 1)), applied(code("020_b", 1))])
        #expect(status.isCurrent)
        #expect(status.newer == [applied(code("020_b", 1))])
    }

    @Test("the same revision with another checksum is edited, be it due again or not")
    func edited() {
        let file = code("020_b", 1, "SELECT 1;")
        let ledger = [applied(code("010_a", 1)), applied(code("020_b", 1, "SELECT 2;"))]
        #expect(MigrationStatus(carried: [code("010_a", 1), file], applied: ledger).edited == [file])
        #expect(MigrationStatus(carried: [code("010_a", 2), file], applied: ledger).edited == [file])
        let stale = [applied(code("010_a", 1)), applied(code("020_b", 1, "SELECT 2;"), isStale: true)]
        #expect(MigrationStatus(carried: [code("010_a", 1), file], applied: stale).edited == [file])
    }

    @Test("a stale file is applied again, with every later one")
    func stale() {
        let ledger = [applied(code("010_a", 2), checksum: nil), applied(code("020_b", 1), isStale: true)]
        let status = MigrationStatus(carried: [code("010_a", 2), code("020_b", 1), code("030_c", 1)], applied: ledger)
        #expect(status.missing == [code("020_b", 1), code("030_c", 1)])
        #expect(status.unsigned == [code("010_a", 2)])
    }

    @Test("a stale file of a newer binary is that binary's to apply")
    func staleAndNewer() {
        let status = MigrationStatus(
            carried: [code("010_a", 1)], applied: [applied(code("010_a", 2), isStale: true)])
        #expect(status.isCurrent)
    }
}

/// A migration of a test's own.
func migration(_ filename: String, _ sql: String) -> Migration {
    guard let migration = Migration(filename: filename, contents: Data(sql.utf8)) else {
        preconditionFailure("\(filename) is no name of a migration")
    }
    return migration
}
