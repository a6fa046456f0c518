import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import Synchronization
import TestSupport
import Testing

@Suite(.deadline) struct UploadConnectionTests {
    @Test("A client that chose the session's id follows the upload's percentages")
    func percentages() async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 400_000), session: id)
            let bytes = upload.recording
            let seen = Mutex<Set<Int>>([])

            async let watched = Self.watch(id, of: clinic) { event in
                if event.status == "uploading", let progress = event.progress {
                    _ = seen.withLock { $0.insert(progress) }
                }
            }
            let response = try await clinic.server.withWire { wire in
                try await wire.send(upload.requestHead(token: clinic.token(.patient)))
                try await wire.send(upload.head)
                var rest = bytes[...]
                // The line is slow until the stream has sent enough percentages. The sleep paces the client, and
                // no event shows when the server will report next.
                while !rest.isEmpty, seen.withLock({ $0.count }) < 4 {
                    try await wire.send(Data(rest.prefix(500)))
                    rest = rest.dropFirst(500)
                    try await Task.sleep(for: .milliseconds(15))
                }
                try await wire.send(Data(rest) + upload.tail)
                return try await wire.readResponse()
            }
            #expect(response.status == 201)
            #expect(try response.json()["id"] as? String == id.description)
            #expect(try clinic.storedFiles().count == 1)

            let events = try await watched
            let percentages = events.filter { $0.status == "uploading" }.compactMap(\.progress)
            #expect(percentages.count >= 4)
            #expect(percentages == percentages.sorted())
            #expect(percentages.allSatisfy { (0..<20).contains($0) })
            #expect(events.last?.status == "pending")
            #expect(events.last?.progress == 20)
        }
    }

    /// Follows the stream of a session that an upload will make, until the recording is complete.
    private static func watch(
        _ id: SessionID, of clinic: Clinic, _ body: (StreamedEvent) -> Void
    ) async throws -> [StreamedEvent] {
        try await clinic.waitForSession(id)
        return try await clinic.server.withStream(
            "/api/sessions/\(id)/status/stream", token: clinic.token(.patient)
        ) { reader in
            var events: [StreamedEvent] = []
            while let event = try await reader.next() {
                guard event.event != nil else { continue }
                events.append(event)
                body(event)
                if event.status == "pending", event.progress == 20 { break }
            }
            return events
        }
    }

    /// Starts an upload, and breaks the connection when the session exists.
    private func breakUpload(_ upload: Upload, of clinic: Clinic, after count: Int, session: SessionID) async throws {
        try await clinic.server.withWire { wire in
            try await wire.send(upload.requestHead(token: clinic.token(.patient)))
            try await wire.send(upload.head + upload.recording.prefix(count))
            try await eventually("the upload is under way") {
                let rows = try await clinic.database.query(
                    "SELECT FROM app.session_progress WHERE session_id = \(session.rawValue) AND status = 'uploading'")
                return rows.count == 1
            }
        }
    }

    @Test("A broken upload leaves a failed session with its reason, and no file", arguments: [0, 5, 100, 100_000])
    func broken(_ count: Int) async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 200_000), session: id)
            try await breakUpload(upload, of: clinic, after: count, session: id)
            let last = try #require(try await clinic.end(of: id))
            #expect(last.event == "error")
            #expect(last.status == "failed")
            let reason = try last.json()["error"] as? String
            #expect(reason == "The upload broke off before the recording was complete.")
            #expect(try clinic.storedFiles() == [])
        }
    }

    @Test("After a broken upload, the same id accepts the recording or another one")
    func again() async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav(size: 200_000), session: id)
            try await breakUpload(upload, of: clinic, after: 1000, session: id)
            let other = UploadFile("better.ogg", "audio/ogg", "OggS")
            let response = try await clinic.upload(
                Upload(patient: clinic.id(.patient), file: other, session: id), as: .patient)
            #expect(response.status == 201)
            let json = try response.json()
            #expect(json["id"] as? String == id.description)
            #expect(json["filename"] as? String == "better.ogg")
            #expect(json["bytes"] as? Int == other.bytes.count)
            let progress = try #require(json["progress"] as? [String: any Sendable])
            #expect(progress["status"] as? String == "pending")
            #expect(progress["attempt"] as? Int == 2)
            #expect(try clinic.storedFiles().count == 1)
            let recording = try await clinic.request(.GET, "/api/sessions/\(id)/recording", as: .patient)
            #expect(recording.headers["Content-Type"] == ["audio/ogg"])
            #expect(recording.body == other.bytes)
        }
    }
}
