import Foundation
import Testing

@testable import Migrations

/// The comparison of the binary's files with the ledger, without a database.
@Suite struct MigrationStatusTests {
    private let one = migration("0001_one.sql", "SELECT 1;")
    private let two = migration("0002_two.sql", "SELECT 2;")
    private let three = migration("0003_three.sql", "SELECT 3;")

    private func applied(_ migration: Migration, checksum: String?) -> MigrationStatus.Applied {
        .init(migration.kind, name: migration.name, checksum: checksum)
    }

    @Test("On an empty ledger, all files are missing, in order")
    func empty() {
        let status = MigrationStatus(carried: [one, two, three], applied: [])
        #expect(status.missing == [one, two, three])
        #expect(!status.isCurrent)
        #expect(status.edited.isEmpty)
        #expect(status.unsigned.isEmpty)
        #expect(status.newer.isEmpty)
    }

    @Test("A file that was applied with its checksum is neither missing nor edited")
    func current() {
        let status = MigrationStatus(
            carried: [one, two], applied: [one, two].map { applied($0, checksum: $0.checksum) })
        #expect(status.isCurrent)
        #expect(status == MigrationStatus(carried: [], applied: []))
    }

    @Test("A file with another checksum is edited; a file without one was run by psql")
    func editedAndUnsigned() {
        let status = MigrationStatus(
            carried: [one, two], applied: [applied(one, checksum: two.checksum), applied(two, checksum: nil)])
        #expect(status.edited == [one])
        #expect(status.unsigned == [two])
        #expect(status.isCurrent)
    }

    @Test("A file that only the ledger has is newer, and the schema is current")
    func newer() {
        let status = MigrationStatus(
            carried: [one], applied: [applied(one, checksum: one.checksum), applied(three, checksum: three.checksum)])
        #expect(status.isCurrent)
        #expect(status.newer == [applied(three, checksum: three.checksum)])
    }

    @Test("A gap below an applied file is missing")
    func gap() {
        let status = MigrationStatus(
            carried: [one, two, three], applied: [one, three].map { applied($0, checksum: nil) })
        #expect(status.missing == [two])
        #expect(!status.isCurrent)
    }

    @Test(
        "A file's name is four digits, or three for code, an underscore, words and .sql",
        arguments: [
            "1_x.sql", "00001_x.sql", "0001-x.sql", "0001_X.sql", "0001_x.sql.orig", "0001_.sql", "readme.md",
            "01_x.sql",
            "001-x.sql", "001_X.sql", "001_x.sql.orig", "001_.sql",
        ])
    func strangeNames(name: String) {
        #expect(Migration(filename: name, contents: Data("-- revision: 1\n".utf8)) == nil)
    }

    @Test(
        "A code file has its revision in a line of its own",
        arguments: [
            ("-- revision: 1", 1), ("-- What it is.\n-- revision: 42\nBEGIN;", 42), ("", nil), ("-- revision: 0", nil),
            ("-- revision: -1", nil), ("-- revision: 01", nil), ("-- revision: 1.5", nil), ("-- revision: x", nil),
            ("SELECT '-- revision: 1'", nil), ("-- revision: 99999999999999999999", nil),
        ] as [(String, Int?)])
    func revision(text: String, revision: Int?) {
        let file = Migration(filename: "010_text.sql", contents: Data(text.utf8))
        #expect(file?.kind == revision.map { .code(revision: $0) })
    }

    @Test("A file has its name, and the checksum of its bytes")
    func parts() {
        let migration = migration("0042_more_words.sql", "abc")
        #expect(migration.kind == .step(version: 42))
        #expect(migration.name == "0042_more_words")
        #expect(migration.filename == "0042_more_words.sql")
        // The example of FIPS 180-2, appendix B.1.
        #expect(migration.checksum == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    @Test("The statements of a step lack only its own BEGIN and COMMIT")
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

    @Test("The binary has steps from 1 on without a gap, and then the code files")
    func carried() {
        #expect(carriedSteps.count >= 6)
        #expect(carriedSteps.map(\.kind) == (1...carriedSteps.count).map { .step(version: $0) })
        #expect(carriedCode.count >= 6)
        #expect(carriedCode.first?.name == "000_ledger")
        #expect(Migration.carried == carriedSteps + carriedCode)
    }

    @Test(
        "Every file has one BEGIN and one COMMIT, and inserts its own ledger row",
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

/// The comparison of code files with the ledger: by revision, in the order of dependence.
@Suite struct CodeStatusTests {
    private let step = migration("0001_one.sql", "SELECT 1;")

    private func code(_ name: String, _ revision: Int, _ body: String = "") -> Migration {
        codeFile(name, revision: revision, body)
    }

    private func applied(_ file: Migration, checksum: String? = "", isStale: Bool = false) -> MigrationStatus.Applied {
        .init(file.kind, name: file.name, checksum: checksum == "" ? file.checksum : checksum, isStale: isStale)
    }

    @Test("A code file that is not in the ledger is missing, after all steps")
    func missing() {
        let status = MigrationStatus(carried: [step, code("010_a", 1), code("020_b", 1)], applied: [])
        #expect(status.missing == [step, code("010_a", 1), code("020_b", 1)])
        #expect(!status.isCurrent)
    }

    @Test("After a raised revision, that file and every later one are due, but no earlier one")
    func raised() {
        let ledger = [applied(code("010_a", 1)), applied(code("020_b", 1)), applied(code("030_c", 1))]
        let status = MigrationStatus(
            carried: [code("010_a", 1), code("020_b", 2), code("030_c", 1)], applied: ledger)
        #expect(status.missing == [code("020_b", 2), code("030_c", 1)])
        #expect(status.edited.isEmpty)
        #expect(status.newer.isEmpty)
    }

    @Test("A new file between others is due with every later one")
    func inserted() {
        let ledger = [applied(code("010_a", 1)), applied(code("030_c", 1))]
        let status = MigrationStatus(
            carried: [code("010_a", 1), code("020_b", 1), code("030_c", 1)], applied: ledger)
        #expect(status.missing == [code("020_b", 1), code("030_c", 1)])
    }

    @Test("A higher revision in the ledger is current, even after a file that is due again")
    func newer() {
        let ledger = [applied(code("010_a", 1)), applied(code("020_b", 3)), applied(code("030_c", 1))]
        let old = MigrationStatus(carried: [code("010_a", 1), code("020_b", 2), code("030_c", 1)], applied: ledger)
        #expect(old.isCurrent)
        #expect(old.newer == [applied(code("020_b", 3))])
        let next = MigrationStatus(carried: [code("010_a", 2), code("020_b", 2), code("030_c", 1)], applied: ledger)
        #expect(next.missing == [code("010_a", 2), code("030_c", 1)])
        #expect(next.newer == [applied(code("020_b", 3))])
    }

    @Test("A file that only a newer binary has is no error")
    func unknown() {
        let status = MigrationStatus(
            carried: [code("010_a", 1)], applied: [applied(code("010_a", 1)), applied(code("020_b", 1))])
        #expect(status.isCurrent)
        #expect(status.newer == [applied(code("020_b", 1))])
    }

    @Test("A file with the same revision and another checksum is edited, whether or not it is due")
    func edited() {
        let file = code("020_b", 1, "SELECT 1;")
        let ledger = [applied(code("010_a", 1)), applied(code("020_b", 1, "SELECT 2;"))]
        #expect(MigrationStatus(carried: [code("010_a", 1), file], applied: ledger).edited == [file])
        #expect(MigrationStatus(carried: [code("010_a", 2), file], applied: ledger).edited == [file])
        let stale = [applied(code("010_a", 1)), applied(code("020_b", 1, "SELECT 2;"), isStale: true)]
        #expect(MigrationStatus(carried: [code("010_a", 1), file], applied: stale).edited == [file])
    }

    @Test("A stale file is due with every later one")
    func stale() {
        let ledger = [applied(code("010_a", 2), checksum: nil), applied(code("020_b", 1), isStale: true)]
        let status = MigrationStatus(carried: [code("010_a", 2), code("020_b", 1), code("030_c", 1)], applied: ledger)
        #expect(status.missing == [code("020_b", 1), code("030_c", 1)])
        #expect(status.unsigned == [code("010_a", 2)])
    }

    @Test("A stale file of a newer binary is not due for this binary")
    func staleAndNewer() {
        let status = MigrationStatus(
            carried: [code("010_a", 1)], applied: [applied(code("010_a", 2), isStale: true)])
        #expect(status.isCurrent)
    }
}

/// Makes a migration of the test's own.
func migration(_ filename: String, _ sql: String) -> Migration {
    guard let migration = Migration(filename: filename, contents: Data(sql.utf8)) else {
        preconditionFailure("\(filename) is not the name of a migration")
    }
    return migration
}
