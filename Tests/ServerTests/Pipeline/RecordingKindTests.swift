import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Recordings of every kind on their whole way: the upload, ffmpeg, the bundled recogniser, the transcript.
@Suite("Recordings of every kind, from the upload to the transcript", .serialized, .deadline(.seconds(240)))
struct RecordingKindTests {
    private static let speech = ["-t", "3", "-i", RecordingMaker.speech]

    /// Formats whose bytes stand behind something else, whose name is that of another format, or that few programs write.
    private static let kinds: [Kind] = [
        Kind("behind-a-tag.flac", "audio/flac") {
            // A tag of 2,000 bytes: ID3v2.3, the size in four times seven bits.
            let tag = Data("ID3\u{3}\0\0\0\0\u{F}\u{50}".utf8) + Data(repeating: 0x41, count: 2_000)
            return tag + (try await RecordingMaker.bytes("a.flac", speech))
        },
        Kind("an-mp4.mp3", "audio/mp4") { try await RecordingMaker.bytes("a.mp4", speech + ["-c:a", "aac"]) },
        Kind("a-wav.m4a", "audio/wav") { try await RecordingMaker.bytes("a.wav", speech + ["-ar", "16000"]) },
        Kind("memo.qta", "video/quicktime") {
            try await RecordingMaker.bytes("a.mov", speech + ["-c:a", "aac", "-ar", "48000"])
        },
        Kind("lossless.qta", "video/quicktime") { try await RecordingMaker.bytes("a.mov", speech + ["-c:a", "alac"]) },
        Kind("call.amr", "audio/amr") { try Data(contentsOf: URL(filePath: RecordingMaker.amr.narrow)) },
        Kind("wide.amr", "audio/amr-wb") { try Data(contentsOf: URL(filePath: RecordingMaker.amr.wide)) },
        Kind("old-phone.3gp", "audio/3gpp") {
            try await RecordingMaker.bytes("a.3gp", ["-i", RecordingMaker.amr.narrow, "-c", "copy"])
        },
        Kind("phone.3gp", "audio/3gpp") { try await RecordingMaker.bytes("a.3gp", speech + ["-c:a", "aac"]) },
        Kind("long.wav", "audio/wav") { try await longWave("RF64") },
        Kind("broadcast.wav", "audio/wav") { try await longWave("BW64") },
        Kind("plain.aac", "audio/aac") { try await RecordingMaker.bytes("a.aac", speech + ["-c:a", "aac"]) },
        Kind("mac.caf", "audio/x-caf") { try await RecordingMaker.bytes("a.caf", speech + ["-c:a", "alac"]) },
        Kind("mac.aiff", "audio/aiff") { try await RecordingMaker.bytes("a.aiff", speech + ["-ar", "22050"]) },
        Kind("compressed.aif", "audio/aiff") {
            try await RecordingMaker.bytes("a.aiff", speech + ["-c:a", "pcm_mulaw"])
        },
    ]

    /// A WAV file with sizes of 64 bits.
    private static func longWave(_ signature: String) async throws -> Data {
        var file = try await RecordingMaker.bytes("a.wav", speech + ["-ar", "16000", "-rf64", "always"])
        try #require(file.starts(with: Data("RF64".utf8)))
        // ffmpeg does not write BW64 (ITU-R BS.2088), which differs from RF64 in this name alone.
        file.replaceSubrange(..<4, with: Data(signature.utf8))
        return file
    }

    @Test("A recording of every kind is processed with its length, its words and its type")
    func kinds() async throws {
        try await withTranscriber { scene in
            var sessions: [SessionID] = []
            for kind in Self.kinds { sessions.append(try await scene.upload(try await kind.make(), name: kind.name)) }
            for (kind, session) in zip(Self.kinds, sessions) {
                let last = try await scene.watchToEnd(session).last
                #expect(last?.event == "complete", "\(kind.name): \(last?.data ?? "")")
                let stored = try await scene.get("", session).json()
                let seconds = try #require(stored["duration_seconds"] as? Double, "\(kind.name)")
                #expect(abs(seconds - 3) < 0.2, "\(kind.name): \(seconds)")
                let transcript = try await scene.get("/transcript", session).json()
                #expect(transcript["is_complete"] as? Bool == true, "\(kind.name)")
                let text = transcript["text"] as? String ?? ""
                #expect(text.contains("john") || text.contains("leisure"), "\(kind.name): \(text)")
                let recording = try await scene.get("/recording", session)
                #expect(recording.headers["Content-Type"] == [kind.type], "\(kind.name)")
                try await expectStagesEnd(session, scene, kind.name)
            }
        }
    }

    @Test("The percentages of each stage reach its end, whatever the file announces")
    func ends() async throws {
        try await withTranscriber { scene in
            var sessions: [SessionID] = []
            for recording in ShapedRecording.ofUnknownLength {
                sessions.append(try await scene.upload(try await recording.make(), name: recording.file))
            }
            for (recording, session) in zip(ShapedRecording.ofUnknownLength, sessions) {
                #expect(try await scene.watchToEnd(session).last?.event == "complete", "\(recording.name)")
                try await expectStagesEnd(session, scene, recording.name)
                let transcript = try await scene.get("/transcript", session).json()
                #expect(transcript["is_complete"] as? Bool == recording.isComplete, "\(recording.name)")
                let seconds = try #require(transcript["duration_seconds"] as? Double, "\(recording.name)")
                #expect(abs(seconds - recording.seconds) < 0.3, "\(recording.name): \(seconds)")
            }
        }
    }

    @Test("DTS in a WebM or Matroska file fails with a sentence that says what to do", arguments: ["webm", "matroska"])
    func foreignCodec(docType: String) async throws {
        // ffmpeg writes no DTS into WebM. The type of the document is all that tells WebM from Matroska.
        var file = try await RecordingMaker.bytes("a.mka", Self.speech + ["-ac", "2", "-ar", "48000", "-c:a", "dca"])
        let name = try #require(file.firstRange(of: Data("matroska".utf8)))
        file.replaceSubrange(name, with: Data((docType + "\0\0\0\0").utf8.prefix(8)))
        let recording = file
        try await withTranscriber { scene in
            let session = try await scene.upload(recording, name: "session.webm")
            let last = try #require(try await scene.watchToEnd(session).last)
            #expect(last.event == "error")
            #expect(
                try last.json()["error"] as? String
                    == "The sound of this recording is in a format that cannot be read (dts). Save it as m4a, mp3 or wav, "
                    + "and upload that.")
            #expect(try await scene.get("/transcript", session).status == 404)
        }
    }

    // MARK: -

    private struct Kind: Sendable {
        var name: String
        /// The media type of the download.
        var type: String
        var make: @Sendable () async throws -> Data

        init(_ name: String, _ type: String, _ make: @escaping @Sendable () async throws -> Data) {
            (self.name, self.type, self.make) = (name, type, make)
        }
    }

    /// Lends a server with the bundled transcriber, whose database remembers every progress.
    private func withTranscriber(_ body: @escaping @Sendable (WorkerScene) async throws -> Void) async throws {
        let environment = [
            "PIPELINE_TRANSCRIBE_COMMAND": "'\(builtProgram)' transcribe", "PIPELINE_CONCURRENCY": "2",
        ]
        try await withServer(environment, runsWorker: true) { server in
            let scene = try await WorkerScene(server)
            try await scene.database.withConnection { connection in
                try await connection.executeScript(
                    """
                    CREATE TABLE public.steps (session_id uuid, version bigint, status text, progress int);
                    CREATE FUNCTION public.note_step() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
                        INSERT INTO public.steps VALUES (NEW.session_id, NEW.version, NEW.status, NEW.progress);
                        RETURN NULL; END $$;
                    CREATE TRIGGER note AFTER UPDATE ON app.session_progress
                        FOR EACH ROW EXECUTE FUNCTION public.note_step();
                    """)
            }
            try await body(scene)
        }
    }

    /// Checks the last percentage of each stage in the database, before the next one began.
    private func expectStagesEnd(_ session: SessionID, _ scene: WorkerScene, _ name: String) async throws {
        let rows = try await scene.database.query(
            "SELECT status, progress FROM public.steps WHERE session_id = \(session.rawValue) ORDER BY version")
        let steps = try rows.map {
            (try $0.decode("status", as: String.self), Int(try $0.decode("progress", as: Int32.self)))
        }
        #expect(steps.map(\.1) == steps.map(\.1).sorted(), "\(name): \(steps)")
        for (status, end) in [
            ("preprocessing", 20), ("transcribing", 60), ("transcribed", 60), ("processed", 100),
        ] {
            #expect(steps.last { $0.0 == status }?.1 == end, "\(name), \(status): \(steps)")
        }
    }
}
