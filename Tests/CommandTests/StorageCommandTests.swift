import Domain
import Foundation
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// The command `storage check`.
@Suite(.deadline) struct StorageCommandTests {
    @Test("It lists sessions without recordings and old files without sessions, and nothing else")
    func check() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tb-storage-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            let (whole, lost) = (try await database.addSession(of: patient), try await database.addSession(of: patient))
            // Only one function may set the column.
            try await database.withConnection { connection in
                try await connection.executeScript("SET session_replication_role = replica")
                for (session, key) in [(whole, "whole.enc"), (lost, "lost")] {
                    _ = try await connection.query(
                        """
                        UPDATE app.therapy_sessions SET recording = \(key)
                        WHERE id = \(session.rawValue)
                        """)
                }
            }
            func put(_ name: String, daysOld days: Double) throws {
                let file = folder.appending(path: name)
                try Data("x".utf8).write(to: file)
                try FileManager.default.setAttributes(
                    [.modificationDate: Date(timeIntervalSinceNow: -days * 86_400)],
                    ofItemAtPath: file.path(percentEncoded: false))
            }
            try put("whole.enc", daysOld: 9)
            try put("stray", daysOld: 9)
            try put("young", daysOld: 0)
            let program = Program(environment: [
                "DATABASE_MIGRATE_URL": database.url(), "UPLOAD_DIR": folder.path(percentEncoded: false),
            ])
            let run = try await program.run("storage", "check")
            #expect(run.status == 1)
            #expect(run.lines == ["\(lost)\tits recording is missing", "stray\tbelongs to no session"])
            #expect(run.errorLines == ["therapybridge: the recordings and the database differ"])
            try put("lost", daysOld: 0)
            try FileManager.default.removeItem(at: folder.appending(path: "stray"))
            #expect(try await program.lines("storage", "check") == [])
        }
    }

    @Test("A folder that cannot be read is a wrong UPLOAD_DIR")
    func noFolder() async throws {
        try await withDatabase { database in
            let run = try await Program(environment: [
                "DATABASE_MIGRATE_URL": database.url(), "UPLOAD_DIR": "/nowhere",
            ]).run("storage", "check")
            #expect(run.status == 78)
            #expect(run.errorOutput.hasPrefix("therapybridge: UPLOAD_DIR: "))
        }
    }
}
