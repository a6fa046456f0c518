import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The segments of a transcript: which ones the database accepts, and how a partial transcript grows.
@Suite(.deadline) struct SegmentTests {
    private static func segment(_ start: String, _ end: String, _ more: String = #""text": "a""#) -> String {
        #"{"start": \#(start), "end": \#(end), \#(more)}"#
    }

    @Test(
        "A final and a partial transcript, and added segments, are refused for the same faults",
        arguments: [
            (segment("1", "0.5"), "segment_ends_early"), (segment("-1", "1"), "segment_malformed"),
            (segment("-2", "-1"), "segment_malformed"), (segment("0", "1e400"), "segment_malformed"),
            (segment("null", "1"), "segment_malformed"), (segment(#""0""#, "1"), "segment_malformed"),
            (segment("0", "1", #""text": 7"#), "segment_malformed"),
            (segment("0", "1", #""x": 7"#), "segment_malformed"),
            (segment("0", "1", #""text": "a", "speaker": 7"#), "segment_malformed"),
            (#"{"text": "a"}"#, "segment_malformed"), ("7", "segment_malformed"), ("[]", "segment_malformed"),
            ("null", "segment_malformed"),
            (segment("2", "3") + "," + segment("1.9", "3"), "segment_out_of_order"),
            (segment("0", "90.1"), "segment_past_end"), (segment("95", "96"), "segment_past_end"),
        ])
    func refused(segments: String, code: String) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(in: .transcribing)
                _ = try await connection.query("SELECT app.set_length(\(session), 60, NULL)")
                func fault(_ query: PostgresQuery) async throws -> (SQLState?, String?) {
                    do {
                        _ = try await connection.query(query)
                        return (nil, nil)
                    } catch let error as PostgresError {
                        return (error.sqlState, error.constraintName)
                    }
                }
                for members in [#""text": "a""#, #""is_final": false"#] {
                    let transcript = PostgresJSON(text: #"{\#(members), "segments": [\#(segments)]}"#)
                    let (state, name) = try await fault("SELECT app.store_transcript(\(session), 1, \(transcript))")
                    #expect(state == .invalidParameterValue)
                    #expect(name == code)
                }
                let list = PostgresJSON(text: "[\(segments)]")
                let (state, name) = try await fault("SELECT app.add_segments(\(session), 1, 0, \(list), NULL)")
                #expect(state == .invalidParameterValue)
                #expect(name == code)
                #expect(try await connection.query("SELECT FROM app.transcript_segments").isEmpty)
                #expect(try await connection.query("SELECT FROM app.transcripts").isEmpty)
                #expect(try await connection.progress(of: session).version == 2)
            }
        }
    }

    @Test("Segments may overlap and be empty, and an end up to 30 seconds past the recording is cut to its length")
    func cut() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(in: .transcribing)
                let transcript = """
                    {"text": "a", "duration_seconds": 60.5, "segments": [
                        {"start": 0, "end": 3.50, "text": ""}, {"start": 0, "end": 2, "text": "b", "words": [1]},
                        {"start": 59, "end": 90.5, "text": "c"}, {"start": 61, "end": 62, "text": "d"}]}
                    """
                let kept = """
                    [{"start": 0, "end": 3.50, "text": ""}, {"start": 0, "end": 2, "text": "b", "words": [1]},
                     {"start": 59, "end": 60.5, "text": "c"}, {"start": 60.5, "end": 60.5, "text": "d"}]
                    """
                // The same transcript again is no other one, although it was cut.
                for _ in 0..<2 {
                    _ = try await connection.query(
                        "SELECT app.store_transcript(\(session), 1, \(PostgresJSON(text: transcript)))")
                }
                let row = try await connection.query(
                    "SELECT body -> 'segments' = \(PostgresJSON(text: kept)) AS is_same FROM app.transcripts")[0]
                #expect(try row.decode("is_same", as: Bool.self))
                #expect(try await connection.query("SELECT FROM app.result_history").isEmpty)
            }
        }
    }

    @Test("Added segments raise the version once for each write, and a repeated write adds nothing")
    func added() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(in: .transcribing, at: 30)
                func add(_ texts: [String], first: Int32) async throws {
                    let list = texts.map { #"{"start": 1, "end": 2, "text": "\#($0)"}"# }.joined(separator: ",")
                    _ = try await connection.query(
                        "SELECT app.add_segments(\(session), 1, \(first), \(PostgresJSON(text: "[\(list)]")), NULL)")
                }
                func state() async throws -> [Int] {
                    let row = try await connection.query(
                        "SELECT segments, version, progress FROM app.session_progress WHERE session_id = \(session)")[0]
                    return [
                        Int(try row.decode("segments", as: Int32.self)), Int(try row.decode("version", as: Int64.self)),
                        Int(try row.decode("progress", as: Int16.self)),
                    ]
                }
                #expect(try await state() == [0, 2, 30])
                try await add(["a", "b"], first: 0)
                #expect(try await state() == [2, 3, 30])
                // The answer was lost, and the worker has another segment by now.
                try await add(["a", "b", "c"], first: 0)
                #expect(try await state() == [3, 4, 30])
                try await add(["c"], first: 2)
                try await add([], first: 3)
                #expect(try await state() == [3, 4, 30])
                #expect(
                    try await connection.refusal(of: "SELECT app.add_segments(\(session), 1, 4, '[]', NULL)")
                        == .invalidParameterValue)
                let texts = try await connection.query(
                    "SELECT body ->> 'text' AS text FROM app.transcript_segments ORDER BY number"
                ).map { try $0.decode("text", as: String.self) }
                #expect(texts == ["a", "b", "c"])
                #expect(try await connection.transitions(of: session).map(\.0) == [1, 2])
                // A percentage leaves the segments.
                try await connection.report(Report("transcribing", 40), session)
                #expect(try await state() == [3, 5, 40])
            }
        }
    }

    @Test(
        "A partial transcript replaces the one of its attempt, the final one replaces both, and after it a partial one is refused"
    )
    func replaced() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(in: .transcribing)
                func store(_ members: String, _ count: Int, of text: String = "a") async throws {
                    let list = Array(repeating: #"{"start": 0, "end": 1, "text": "\#(text)"}"#, count: count)
                        .joined(separator: ",")
                    let transcript = PostgresJSON(text: #"{\#(members), "segments": [\#(list)]}"#)
                    _ = try await connection.query("SELECT app.store_transcript(\(session), 1, \(transcript))")
                }
                func state() async throws -> [Int] {
                    let row = try await connection.query(
                        """
                        SELECT p.segments, p.version, (SELECT count(*) FROM app.transcript_segments) AS partial,
                               (SELECT count(*) FROM app.transcripts) AS final
                        FROM app.session_progress p WHERE p.session_id = \(session)
                        """)[0]
                    return [
                        Int(try row.decode("segments", as: Int32.self)), Int(try row.decode("version", as: Int64.self)),
                        Int(try row.decode("partial", as: Int64.self)), Int(try row.decode("final", as: Int64.self)),
                    ]
                }
                try await store(#""is_final": false"#, 3)
                #expect(try await state() == [3, 3, 3, 0])
                try await store(#""is_final": false"#, 3)
                #expect(try await state() == [3, 3, 3, 0])
                try await store(#""is_final": false, "text": "a""#, 2)
                #expect(try await state() == [2, 4, 2, 0])
                // As many other segments are new ones.
                try await store(#""is_final": false"#, 2, of: "b")
                #expect(try await state() == [2, 5, 2, 0])
                try await store(#""is_final": false"#, 2, of: "b")
                #expect(try await state() == [2, 5, 2, 0])
                try await store(#""is_final": true, "text": "a""#, 2)
                #expect(try await state() == [2, 5, 0, 1])
                try await store(#""text": "a""#, 4)
                #expect(try await state() == [4, 6, 0, 1])
                await #expect(throws: PostgresError.self) { try await store(#""is_final": false"#, 1) }
                #expect(
                    try await connection.refusal(of: "SELECT app.add_segments(\(session), 1, 0, '[]', NULL)")
                        == .checkViolation)
                let isKept = try await connection.query(
                    "SELECT body ? 'is_final' AS is_kept FROM app.transcripts")[0].decode("is_kept", as: Bool.self)
                #expect(!isKept)
            }
        }
    }

    @Test("A retry and a takeover begin the transcript anew, but not a takeover after the final transcript")
    func anew() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                func segments() async throws -> [Int] {
                    let row = try await connection.query(
                        """
                        SELECT p.segments, (SELECT count(*) FROM app.transcript_segments) AS partial
                        FROM app.session_progress p WHERE p.session_id = \(session)
                        """)[0]
                    return [
                        Int(try row.decode("segments", as: Int32.self)), Int(try row.decode("partial", as: Int64.self)),
                    ]
                }
                func add(attempt: Int32) async throws {
                    _ = try await connection.query(
                        "SELECT app.add_segments(\(session), \(attempt), 0, '[{\"start\": 0, \"end\": 1, \"text\": \"a\"}]', NULL)"
                    )
                }
                _ = try #require(try await connection.claim())
                try await connection.report(Report("transcribing", 30), session)
                try await add(attempt: 1)
                #expect(try await segments() == [1, 1])
                try await connection.expireLeases()
                #expect(try await connection.claim()?.attempt == 2)
                #expect(try await segments() == [0, 0])

                try await add(attempt: 2)
                try await connection.report(Report("failed", 30), session)
                #expect(try await segments() == [1, 1])
                _ = try await connection.query("SELECT app.retry_session(\(session))")
                #expect(try await segments() == [0, 0])

                _ = try #require(try await connection.claim())
                try await connection.report(Report("transcribing", 30), session)
                let transcript = PostgresJSON(
                    text: #"{"text": "a", "segments": [{"start": 0, "end": 1, "text": "a"}]}"#)
                _ = try await connection.query("SELECT app.store_transcript(\(session), 3, \(transcript))")
                try await connection.report(Report("transcribed", 60), session)
                try await connection.expireLeases()
                #expect(try await connection.claim()?.attempt == 4)
                #expect(try await segments() == [1, 0])
            }
        }
    }

    @Test("After a retry, the earlier final transcript hides partial ones, and no segments are shown until the new one")
    func hidden() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                let transcript = PostgresJSON(
                    text: #"{"text": "a", "segments": [{"start": 0, "end": 1, "text": "a"}]}"#)
                for status in ["transcribing", "transcribed", "processed"] {
                    if status == "transcribed" {
                        _ = try await connection.query("SELECT app.store_transcript(\(session), 1, \(transcript))")
                    }
                    try await connection.report(Report(status, 60), session)
                }
                _ = try await connection.query("SELECT app.retry_session(\(session), again => true)")
                func shown() async throws -> Int {
                    Int(
                        try await connection.query(
                            "SELECT segments FROM app.session_progress WHERE session_id = \(session)")[0]
                            .decode("segments", as: Int32.self))
                }
                #expect(try await shown() == 0)
                try await connection.report(Report("transcribing", 30), session)
                let version = try await connection.progress(of: session).version
                _ = try await connection.query(
                    "SELECT app.add_segments(\(session), 2, 0, '[{\"start\": 0, \"end\": 1, \"text\": \"b\"}]', NULL)")
                #expect(try await connection.query("SELECT FROM app.transcript_segments").count == 1)
                #expect(try await shown() == 0)
                #expect(try await connection.progress(of: session).version == version)
                _ = try await connection.query("SELECT app.store_transcript(\(session), 2, \(transcript))")
                #expect(try await shown() == 1)
                #expect(try await connection.query("SELECT FROM app.transcript_segments").isEmpty)
            }
        }
    }
}
