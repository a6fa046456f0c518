import Foundation
import LocalPostgres
import Logging
import Migrations
import Postgres
import SchemaCatalogue

// Writes docs/schema.md and migrations/code/checksums.txt from a private database: write-schema ROOT
//
// Refuses a code file that changed without a higher revision: a database with that revision would never apply the
// change.

guard CommandLine.arguments.count == 2 else {
    FileHandle.standardError.write(Data("usage: write-schema ROOT\n".utf8))
    exit(64)
}
let root = URL(filePath: CommandLine.arguments[1])
let checksums = root.appending(path: "migrations/code/checksums.txt")

let recorded = (try? String(contentsOf: checksums, encoding: .utf8)) ?? ""
let present = Migration.carried.compactMap(\.checksumLine)
let unraised = CodeChecksums(recorded).unraised(in: CodeChecksums(present.joined(separator: "\n")))
guard unraised.isEmpty else {
    for name in unraised {
        let words =
            "code/\(name).sql changed: raise its revision, in the comment and in app.enter_code, and run this again\n"
        FileHandle.standardError.write(Data(words.utf8))
    }
    exit(1)
}

let silent = Logger(label: "write-schema") { _ in SwiftLogNoOpLogHandler() }
let folder = FileManager.default.temporaryDirectory.appending(path: "write-schema-\(UUID().uuidString.prefix(8))")
defer { try? FileManager.default.removeItem(at: folder) }
let cluster = try await LocalPostgres.start(directory: folder.path(percentEncoded: false), fsync: false, logger: silent)
let page = try await cluster.use(stopMode: .immediate) { cluster in
    let configuration = try PostgresConfiguration(connectionString: cluster.connectionString())
    _ = try await Migrator(configuration: configuration, logger: silent).up()
    return try await PostgresConnection.withConnection(configuration) {
        try await SchemaCatalogue(of: $0, fileOfFunction: Migration.file(ofFunction:)).page
    }
}
try Data(page.utf8).write(to: root.appending(path: "docs/schema.md"))
try Data((CodeChecksums.preface + present.joined(separator: "\n") + "\n").utf8).write(to: checksums)
