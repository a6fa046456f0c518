import Foundation
import Postgres
import PostgresTestSupport
import SchemaCatalogue
import TestSupport
import Testing

@testable import Migrations

private let root = URL(filePath: #filePath).appending(path: "../../..").standardizedFileURL

/// The page that describes the schema, and the list of checksums, compared with the binary's migrations.
@Suite(.deadline) struct SchemaCatalogueTests {
    /// Versions of PostgreSQL print views and expressions differently.
    ///
    /// The page comes from the one of Debian 12.
    @Test("docs/schema.md matches the migrated database of PostgreSQL 15")
    func page() async throws {
        let isDescribed = try await withDatabase { database in
            try await database.query("SELECT current_setting('server_version') LIKE '15.%'")[0].decode(0, as: Bool.self)
        }
        guard isDescribed else { return }
        let recorded = try String(contentsOf: root.appending(path: "docs/schema.md"), encoding: .utf8)
        let page = try await withDatabase { database in
            try await database.withConnection {
                try await SchemaCatalogue(of: $0, fileOfFunction: Migration.file(ofFunction:)).page
            }
        }
        let (present, described) = (page.split(separator: "\n"), recorded.split(separator: "\n"))
        let difference = present.difference(from: described)
        #expect(difference.isEmpty, "docs/schema.md is out of date; run: make schema")
        #expect(page == recorded)
    }

    @Test("Every table and every function has a comment")
    func comments() async throws {
        try await withDatabase { database in
            let silent = try await database.query(
                """
                SELECT relname::text AS name FROM pg_class
                WHERE relnamespace = 'app'::regnamespace AND relkind = 'r' AND obj_description(oid, 'pg_class') IS NULL
                UNION ALL
                SELECT proname::text FROM pg_proc
                WHERE pronamespace = 'app'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL
                """
            ).map { try $0.decode("name", as: String.self) }
            #expect(silent == [])
        }
    }

    @Test("The code files define each function once")
    func once() throws {
        let names = carriedCode.flatMap { file in
            file.sql.matches(of: /(?m)^CREATE OR REPLACE FUNCTION app\.(\w+)\(/).map { String($0.output.1) }
        }
        #expect(names.count > 50)
        #expect(Set(names).count == names.count)
        for step in carriedSteps { #expect(!step.sql.contains("FUNCTION app."), "\(step.filename)") }
    }

    /// A change of code without a raised revision would never reach a database that has the revision.
    @Test("The recorded checksum of each code file is the file's")
    func checksums() throws {
        let recorded = try String(contentsOf: root.appending(path: "migrations/code/checksums.txt"), encoding: .utf8)
        let lines = recorded.split(separator: "\n").filter { !$0.hasPrefix("#") }.map(String.init)
        #expect(
            lines == carriedCode.compactMap(\.checksumLine),
            "raise the revision of the file that changed, in both of its lines, and run: make schema")
    }

    @Test("A file that changed without a higher revision is named")
    func unraised() {
        let recorded = CodeChecksums("# A comment.\n010_a 1 aa\n020_b 2 bb\n030_c 3 cc\n040_d 1 dd\n")
        let present = CodeChecksums("010_a 1 aa\n020_b 3 xx\n030_c 3 xx\n040_d 0 xx\n050_e 1 ee\n")
        #expect(recorded.unraised(in: present) == ["030_c", "040_d"])
        #expect(CodeChecksums("").unraised(in: present) == [])
    }
}
