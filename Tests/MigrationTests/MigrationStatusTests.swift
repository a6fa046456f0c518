import Foundation
import Testing

@testable import Migrations

/// How carried and applied migrations are compared: a value, without a database.
@Suite struct MigrationStatusTests {
    private let one = migration("0001_one.sql", "SELECT 1;")
    private let two = migration("0002_two.sql", "SELECT 2;")
    private let three = migration("0003_three.sql", "SELECT 3;")

    private func applied(_ migration: Migration, checksum: String?) -> MigrationStatus.Applied {
        .init(version: migration.version, name: migration.name, checksum: checksum)
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
        #expect(status.missing.isEmpty)
        #expect(status.edited.isEmpty)
        #expect(status.unsigned.isEmpty)
        #expect(status.newer.isEmpty)
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
        "a file's name is four digits, an underscore, words and .sql",
        arguments: ["1_x.sql", "00001_x.sql", "0001-x.sql", "0001_X.sql", "0001_x.sql.orig", "0001_.sql", "readme.md"])
    func strangeNames(name: String) { #expect(Migration(filename: name, contents: Data()) == nil) }

    @Test("a file's name comes back out of its parts, and its checksum is that of its bytes")
    func parts() {
        let migration = migration("0042_more_words.sql", "abc")
        #expect(migration.version == 42)
        #expect(migration.name == "more_words")
        #expect(migration.filename == "0042_more_words.sql")
        // The example of FIPS 180-2, appendix B.1.
        #expect(migration.checksum == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    @Test("the binary carries migrations from 1 on, without a gap")
    func carried() {
        #expect(Migration.carried.count >= 6)
        #expect(Migration.carried.map(\.version) == Array(1...Migration.carried.count))
    }
}

/// A migration of a test's own.
func migration(_ filename: String, _ sql: String) -> Migration {
    guard let migration = Migration(filename: filename, contents: Data(sql.utf8)) else {
        preconditionFailure("\(filename) is no name of a migration")
    }
    return migration
}
