import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Recordings while the folder of `UPLOAD_DIR` is away, as after its file system was unmounted.
@Suite("The folder of recordings is away", .deadline) struct StorageFaultTests {
    /// Moves the folder away for the time of a body.
    private func withoutFolder(_ clinic: Clinic, _ body: () async throws -> Void) async throws {
        let folder = clinic.server.uploads
        let away = folder.deletingLastPathComponent().appending(path: "away-\(UUID())")
        try FileManager.default.moveItem(at: folder, to: away)
        do {
            try await body()
        } catch {
            try? FileManager.default.moveItem(at: away, to: folder)
            throw error
        }
        try FileManager.default.moveItem(at: away, to: folder)
    }

    private func expectAway(_ response: TestResponse, sourceLocation: SourceLocation = #_sourceLocation) {
        expectProblem(response, 503, "storage-unavailable", detail: "is missing", sourceLocation: sourceLocation)
        #expect(response.headers["Retry-After"] == ["10"], sourceLocation: sourceLocation)
    }

    /// Uploads a recording.
    ///
    /// - Returns: Its session.
    private func uploaded(to clinic: Clinic) async throws -> SessionID {
        let session = SessionID.random()
        let upload = Upload(patient: clinic.id(.patient), file: .wav, session: session)
        #expect(try await clinic.upload(upload, as: .patient).status == 201)
        return session
    }

    @Test("An upload by the form gets 503, the log says what to do, and the next one is stored without a restart")
    func form() async throws {
        let log = LogMemory()
        try await withServer(log: log) { server async throws in
            let clinic = try await Clinic(server)
            let session = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav, session: session)
            try await withoutFolder(clinic) { expectAway(try await clinic.upload(upload, as: .patient)) }
            let failed = try await clinic.progress(of: session)
            #expect(failed["status"] as? String == "failed")
            #expect(failed["error"] as? String == "The recording could not be stored.")
            #expect(try await clinic.upload(upload, as: .patient).status == 201)
            let folder = clinic.server.uploads.lastPathComponent
            #expect(
                log.warnings.contains {
                    $0.contains("request refused") && $0.contains(folder)
                        && $0.contains("mount the file system of UPLOAD_DIR")
                }, "\(log.warnings)")
        }
    }

    @Test("A resumable upload gets 503 at POST and PATCH, and continues where it was when the folder is back")
    func resumable() async throws {
        let log = LogMemory()
        try await withServer(log: log) { server async throws in
            let clinic = try await Clinic(server)
            var client = clinic.resumable(100_000)
            let other = clinic.resumable(50_000)
            try await client.begin()
            #expect(try await client.patch(0..<40_000).status == 204)
            try await withoutFolder(clinic) {
                expectAway(try await client.patch(40_000..<100_000))
                #expect(try await client.offset() == 40_000)
                expectAway(try await other.create(body: other.content))
            }
            #expect(try await client.patch(40_000..<100_000).status == 204)
            try await clinic.expectRecording(client)
        }
        #expect(log.warnings.contains { $0.contains("mount the file system of UPLOAD_DIR") }, "\(log.warnings)")
    }

    // A missing folder once looked like a missing file: a download got 404.
    @Test("A download gets 503, not 404, and the recording when the folder is back")
    func download() async throws {
        try await withClinic { clinic async throws in
            let session = try await uploaded(to: clinic)
            let path = "/api/sessions/\(session)/recording"
            try await withoutFolder(clinic) { expectAway(try await clinic.request(.GET, path, as: .patient)) }
            #expect(try await clinic.request(.GET, path, as: .patient).body == UploadFile.wav.bytes)
        }
    }

    // A missing folder once looked like a removed file: the file came back with the folder, and nothing removed it.
    @Test("The recording of a session that is deleted meanwhile stays listed for removal")
    func deletion() async throws {
        try await withClinic { clinic async throws in
            let session = try await uploaded(to: clinic)
            try await withoutFolder(clinic) {
                let deleted = try await clinic.request(.DELETE, "/api/sessions/\(session)", as: .therapist)
                #expect(deleted.status == 204)
            }
            let listed = try await clinic.database.query(
                "SELECT FROM app.discarded_recordings WHERE removed_at IS NULL")
            #expect(listed.count == 1)
        }
    }
}
