import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

/// The export and the erasure of all that is held of a patient.
@Suite(.deadline) struct PatientDataTests {
    /// A clinic whose patient has an uploaded session with everything that a session can have.
    private struct Scene: Sendable {
        let clinic: Clinic
        let session: SessionID
        let recording = UploadFile.wav(size: 200_001)

        var export: String { "/api/patients/\(clinic.id(.patient))/export" }
        var data: String { "/api/patients/\(clinic.id(.patient))/data" }

        init(_ clinic: Clinic) async throws {
            self.clinic = clinic
            let answer = try await clinic.upload(
                Upload(patient: clinic.id(.patient), file: recording), as: .therapist)
            session = try #require((try answer.json()["id"] as? String).flatMap { SessionID($0) })
            let id = session.rawValue
            try await clinic.database.report(session, .transcribing, 20)
            try await clinic.database.query(
                """
                SELECT app.store_transcript(\(id), 1, '{"text": "first", "segments": []}'),
                       app.store_transcript(\(id), 1, '{"text": "second", "segments": []}'),
                       app.store_notes(\(id), 1, '{"summary": "secret"}')
                """)
            try await clinic.database.query(
                """
                INSERT INTO app.stage_failures (session_id, attempt, stage, exit_status, output_tail)
                VALUES (\(id), 1, 'notes', 1, 'last words')
                """)
        }

        /// The files of an export, by their paths.
        func exported(as caller: Clinic.Caller) async throws -> [String: Data] {
            let answer = try await clinic.request(.GET, export, as: caller)
            #expect(answer.status == 200)
            #expect(answer.headers["Content-Type"] == ["application/x-tar"])
            #expect(answer.headers["Cache-Control"] == ["no-store"])
            return try await Self.extract(answer.body)
        }

        /// Extracts an archive with the system's `tar`.
        static func extract(_ archive: Data) async throws -> [String: Data] {
            let folder = FileManager.default.temporaryDirectory.appending(path: "tb-export-\(UUID())")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: folder) }
            let path = folder.path(percentEncoded: false)
            try archive.write(to: folder.appending(path: "archive"))
            let run = try await runProgram("/usr/bin/tar", ["-xvf", "\(path)/archive", "-C", path])
            #expect(run.status == 0, "\(run.errorOutput)")
            return Dictionary(
                uniqueKeysWithValues: try run.lines.map { ($0, try Data(contentsOf: folder.appending(path: $0))) })
        }
    }

    private func withScene(
        clock: ManualClock? = nil, _ body: @escaping @Sendable (Scene) async throws -> Void
    ) async throws {
        if let clock {
            try await withServer(clock: clock) { try await body(Scene(Clinic($0))) }
        } else {
            try await withClinic { try await body(Scene($0)) }
        }
    }

    @Test("An administrator's export has all that is held of the patient")
    func administrator() async throws {
        try await withScene { scene in
            let files = try await scene.exported(as: .admin)
            let folder = "sessions/\(scene.session)"
            #expect(
                Set(files.keys) == [
                    "patient.json", "sign-ins.json", "access-log-1.json", "\(folder)/session.json",
                    "\(folder)/events.json", "\(folder)/transcript.json", "\(folder)/notes.json",
                    "\(folder)/history-1.json", "\(folder)/failures.json", "\(folder)/recording.wav",
                    "sessions/\(scene.clinic.session)/session.json", "sessions/\(scene.clinic.session)/events.json",
                ])
            #expect(files["\(folder)/recording.wav"] == scene.recording.bytes)
            #expect(files["\(folder)/notes.json"] == Data(#"{"summary": "secret"}"#.utf8))
            func text(_ name: String) -> String { String(decoding: files[name] ?? Data(), as: UTF8.self) }
            #expect(text("\(folder)/transcript.json").contains(#""text":"second""#))
            #expect(text("\(folder)/history-1.json").contains(#""text": "first""#))
            #expect(text("\(folder)/failures.json").contains("last words"))
            #expect(text("patient.json").contains(scene.clinic.id(.former).description))
            #expect(text("access-log-1.json").contains("session.upload"))
            #expect(text("access-log-1.json").contains("patient.export"))
        }
    }

    @Test("The patient's own export has no notes, no last words of stages and no access log")
    func ownExport() async throws {
        try await withScene { scene in
            let files = try await scene.exported(as: .patient)
            #expect(files["sessions/\(scene.session)/recording.wav"] == scene.recording.bytes)
            #expect(files["sessions/\(scene.session)/transcript.json"] != nil)
            let hidden = files.keys.filter { $0.contains(/notes|history|failures|access/) }
            #expect(hidden == [])
            #expect(!files.values.contains { String(decoding: $0, as: UTF8.self).contains("secret") })
        }
    }

    @Test("Nobody else exports, also no therapist of the patient", arguments: [Clinic.Caller.therapist, .otherPatient])
    func refused(_ caller: Clinic.Caller) async throws {
        try await withScene { scene in
            expectProblem(try await scene.clinic.request(.GET, scene.export, as: caller), 403, "forbidden")
            let records = try await scene.clinic.database.audit("action = 'patient.export'")
            #expect(records.map(\.isAllowed) == [false])
            #expect(records.map(\.patient) == [scene.clinic.id(.patient)])
        }
    }

    @Test("A patient with more sessions than one page exports each once")
    func pages() async throws {
        try await withScene { scene in
            for _ in 0..<110 { _ = try await scene.clinic.database.addSession(of: scene.clinic.id(.patient)) }
            let files = try await scene.exported(as: .admin)
            #expect(files.keys.count { $0.hasSuffix("/session.json") } == 112)
        }
    }

    @Test("An export breaks off before its end within 30 s of the loss of the right")
    func lostRight() async throws {
        let clock = ManualClock()
        try await withScene(clock: clock) { scene in
            // Longer than all buffers between the server and the test, so that the server waits in the middle.
            let length = 64 << 20
            for file in try scene.clinic.storedFiles() {
                let handle = try FileHandle(forWritingTo: scene.clinic.server.uploads.appending(path: file))
                try handle.truncate(atOffset: UInt64(length))
                try handle.close()
            }
            try await scene.clinic.server.withWire(receiveBuffer: 64 << 10) { wire in
                try await wire.send("GET", scene.export, token: scene.clinic.token(.admin))
                #expect(try await wire.readHead().status == 200)
                try await scene.clinic.database.query(
                    "UPDATE app.users SET is_active = false WHERE id = \(scene.clinic.id(.admin).rawValue)")
                clock.advance(by: .seconds(30))
                let received = try await wire.readToEnd()
                #expect(received.count < length)
            }
        }
    }

    @Test("An erasure removes the sessions and their files, tells how much that was, and keeps the access log")
    func erasure() async throws {
        try await withScene { scene in
            let clinic = scene.clinic
            let foreign = try await clinic.database.addSession(of: clinic.id(.otherPatient))
            var upload = clinic.resumable(4000)
            try await upload.begin()
            let accesses = try await clinic.database.audit("patient_id = '\(clinic.id(.patient))'").count
            #expect(try clinic.storedFiles().isEmpty == false)

            let answer = try await clinic.request(.DELETE, scene.data, as: .admin)
            #expect(answer.status == 200)
            let report = try answer.json()
            #expect(report["patient_id"] as? String == clinic.id(.patient).description)
            let expected = [
                "sessions": 3, "recordings": 1, "unfinished_uploads": 1, "transcripts": 1, "notes": 1, "history": 1,
                "stage_failures": 1, "files_left": 0,
            ]
            for (name, number) in expected { #expect(report[name] as? Int == number, "\(name)") }
            #expect(report["events"] as? Int ?? 0 >= 4)

            let left = try await clinic.database.query(
                """
                SELECT (SELECT count(*) FROM app.therapy_sessions) AS sessions,
                       (SELECT count(*) FROM app.transcripts) + (SELECT count(*) FROM app.notes)
                       + (SELECT count(*) FROM app.result_history) + (SELECT count(*) FROM app.stage_failures) AS rest,
                       (SELECT count(*) FROM app.resumable_uploads WHERE state = 'open' OR metadata <> '') AS uploads
                """)[0]
            #expect(try left.decode("sessions", as: Int64.self) == 1)
            #expect(try left.decode("rest", as: Int64.self) == 0)
            #expect(try left.decode("uploads", as: Int64.self) == 0)
            #expect(try await clinic.request(.GET, "/api/sessions/\(foreign)", as: .admin).status == 200)
            #expect(try await clinic.database.audit("patient_id = '\(clinic.id(.patient))'").count > accesses)

            let again = try await clinic.request(.DELETE, scene.data, as: .admin)
            #expect(try again.json()["sessions"] as? Int == 0)
        }
    }

    @Test("An erasure of more sessions than one step removes them all")
    func steps() async throws {
        try await withScene { scene in
            for _ in 0..<230 { _ = try await scene.clinic.database.addSession(of: scene.clinic.id(.patient)) }
            let answer = try await scene.clinic.request(.DELETE, scene.data, as: .admin)
            #expect(try answer.json()["sessions"] as? Int == 232)
            #expect(try await scene.clinic.database.query("SELECT FROM app.therapy_sessions").isEmpty)
        }
    }

    @Test("A stream of an erased session ends with revoked")
    func streams() async throws {
        try await withScene { scene in
            try await scene.clinic.server.withStream(
                "/api/sessions/\(scene.session)/status/stream", token: scene.clinic.token(.patient)
            ) { stream in
                _ = try await stream.next()
                #expect(try await scene.clinic.request(.DELETE, scene.data, as: .admin).status == 200)
                var last = ""
                while let event = try await stream.next() { last = event.event ?? last }
                #expect(last == "revoked")
            }
        }
    }
}
