import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite("PATCH …/transcript and PUT …/notes by people", .deadline) struct CorrectionRouteTests {
    private static let transcript = """
        {"text": "Guten Tag. Wie geht es?", "model": "m", "segments": [
            {"start": 0.5, "end": 2, "text": "Guten Tag.", "speaker": "A"}, {"start": 2, "end": 4, "text": "Wie geht es?"}]}
        """
    private static let notes = #"{"z": 1.50, "a": "Es geht besser."}"#

    @Test("A correction replaces text and speakers, remakes the text, and leaves the progress as it is")
    func transcript() async throws {
        try await withResults { clinic in
            let before = try await clinic.progress(of: clinic.session) as NSDictionary
            let body =
                #"{"segments": [{"index": 1, "text": "Wie geht's?", "speaker": "B"}, {"index": 0, "speaker": null}]}"#
            let response = try await clinic.correct(transcript: body)
            #expect(response.status == 204)
            #expect(response.body.isEmpty)
            // A correction of the text alone keeps the speaker, and one of the speaker alone keeps the text.
            let texts = #"{"segments": [{"index": 1, "text": "Wie geht's heute?"}]}"#
            #expect(try await clinic.correct(transcript: texts).status == 204)
            let kept = try await clinic.request(.GET, of: "/transcript?format=txt", as: .patient).text
            #expect(kept == "Guten Tag.\nB: Wie geht's heute?\n")
            let back = try await clinic.correct(transcript: #"{"segments": [{"index": 1, "text": "Wie geht's?"}]}"#)
            #expect(back.headers["ETag"] == response.headers["ETag"])
            let read = try await clinic.request(.GET, of: "/transcript", as: .patient)
            #expect(response.headers["ETag"] == read.headers["ETag"])
            let json = try read.json()
            #expect(json["text"] as? String == "Guten Tag. Wie geht's?")
            #expect(json["model"] as? String == "m")
            #expect(json["attempt"] as? Int == 1)
            #expect(json["is_final"] as? Bool == true)
            let expected: [[String: Any]] = [
                ["start": 0.5, "end": 2, "text": "Guten Tag."],
                ["start": 2, "end": 4, "text": "Wie geht's?", "speaker": "B"],
            ]
            #expect(json["segments"] as? NSArray == expected as NSArray)
            #expect(try await clinic.progress(of: clinic.session) as NSDictionary == before)
            let subtitles = try await clinic.request(.GET, of: "/transcript?format=txt", as: .patient).text
            #expect(subtitles == "Guten Tag.\nB: Wie geht's?\n")
        }
    }

    @Test("Notes are stored in the form that their author sends, and the tag of the answer is that of the next read")
    func notes() async throws {
        try await withResults { clinic in
            let body = "{ \"m\": 1.50,\n \"lease\": \"a word\", \"attempt\": 7, \"é\": [\"\\u00e9\"] }"
            let response = try await clinic.correct(notes: body, as: .admin)
            #expect(response.status == 204)
            #expect(response.body.isEmpty)
            let read = try await clinic.request(.GET, of: "/notes", as: .therapist)
            #expect(read.text == body)
            #expect(response.headers["ETag"] == read.headers["ETag"])
            // The tag is enough for the next correction.
            let next = try await clinic.correct(notes: "{}", tag: response.headers.first(name: "ETag"))
            #expect(next.status == 204)
        }
    }

    @Test("Without If-Match, or with only a star, a correction gets 428 and changes nothing")
    func noCondition() async throws {
        try await withResults { clinic in
            for tag in [nil, "*", "", " , * ,"] {
                let answers = [
                    try await clinic.correct(transcript: #"{"segments": [{"index": 0, "text": "x"}]}"#, tag: tag),
                    try await clinic.correct(notes: "{}", tag: tag),
                ]
                for answer in answers { expectProblem(answer, 428, "precondition-required", "\(tag ?? "none")") }
            }
            try await clinic.expectUnchanged()
        }
    }

    @Test("If-Match with another tag gets 412 and changes nothing; a weak tag never matches, one of several does")
    func changed() async throws {
        try await withResults { clinic in
            let body = #"{"segments": [{"index": 0, "text": "x"}]}"#
            let (transcript, notes) = (try await clinic.tag(of: "/transcript"), try await clinic.tag(of: "/notes"))
            for tag in ["\"\"", "\"other\"", "W/\(transcript)", "other", "W/\(notes)"] {
                expectProblem(try await clinic.correct(transcript: body, tag: tag), 412, "precondition-failed")
                expectProblem(try await clinic.correct(notes: "{}", tag: tag), 412, "precondition-failed")
            }
            try await clinic.expectUnchanged()
            #expect(try await clinic.correct(transcript: body, tag: "\"other\", \(transcript)").status == 204)
            #expect(try await clinic.correct(notes: "{}", tag: "*, \(notes)").status == 204)
        }
    }

    @Test(
        "Of two people who correct what they both have read, one gets 412, and the history has the other's correction")
    func together() async throws {
        try await withResults { clinic in
            for path in ["/transcript", "/notes"] {
                let tag = try await clinic.tag(of: path)
                let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                    for number in 0..<6 {
                        group.addTask {
                            let answer =
                                path == "/notes"
                                ? try await clinic.correct(notes: #"{"by": \#(number)}"#, tag: tag)
                                : try await clinic.correct(
                                    transcript: #"{"segments": [{"index": 0, "text": "\#(number)"}]}"#, tag: tag)
                            return answer.status
                        }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                #expect(statuses.sorted() == [204, 412, 412, 412, 412, 412], "\(path)")
            }
            #expect(try await clinic.history().count == 2)
        }
    }

    @Test("A tag of one format, of a compressed answer, or of a HEAD is good for the correction")
    func anyTag() async throws {
        try await withResults { clinic in
            var number = 0
            for (method, path, headers) in [
                (HTTPMethod.GET, "/transcript?format=vtt", [:]), (.HEAD, "/transcript", [:]),
                (.GET, "/transcript", ["Accept-Encoding": "gzip"]), (.GET, "/transcript?from=1", [:]),
            ] as [(HTTPMethod, String, [String: String])] {
                let read = try await clinic.request(method, of: path, as: .patient, headers: headers)
                let tag = try #require(read.headers.first(name: "ETag"))
                number += 1
                let body = #"{"segments": [{"index": 0, "text": "\#(number)"}]}"#
                #expect(try await clinic.correct(transcript: body, tag: tag).status == 204, "\(path)")
            }
        }
    }

    @Test("A body with a wrong member gets 422 with its name, and changes nothing")
    func refused() async throws {
        try await withResults { clinic in
            let long = String(repeating: "s", count: 201)
            let cases: [(String, String, String)] = [
                ("{}", "segments", "missing"), (#"{"segments": []}"#, "segments", "invalid"),
                (#"{"segments": null}"#, "segments", "null"), (#"{"segments": {}}"#, "segments", "wrong_type"),
                (#"{"segments": [7]}"#, "segments[0]", "wrong_type"),
                (#"{"segments": [{"text": "a"}]}"#, "segments[0].index", "missing"),
                (#"{"segments": [{"index": 0}]}"#, "segments[0]", "missing"),
                (
                    #"{"segments": [{"index": 0, "text": "a"}, {"index": 2, "text": "a"}]}"#, "segments[1].index",
                    "invalid"
                ),
                (#"{"segments": [{"index": -1, "text": "a"}]}"#, "segments[0].index", "invalid"),
                (#"{"segments": [{"index": 0.5, "text": "a"}]}"#, "segments[0].index", "invalid"),
                (#"{"segments": [{"index": 1e99, "text": "a"}]}"#, "segments[0].index", "invalid"),
                (#"{"segments": [{"index": "0", "text": "a"}]}"#, "segments[0].index", "wrong_type"),
                (
                    #"{"segments": [{"index": 0, "text": "a"}, {"index": 0, "speaker": "b"}]}"#, "segments[1].index",
                    "repeated"
                ),
                (#"{"segments": [{"index": 0, "text": null}]}"#, "segments[0].text", "null"),
                (#"{"segments": [{"index": 0, "text": 7}]}"#, "segments[0].text", "wrong_type"),
                (#"{"segments": [{"index": 0, "text": "\u0000"}]}"#, "segments[0].text", "invalid"),
                (#"{"segments": [{"index": 0, "speaker": ""}]}"#, "segments[0].speaker", "invalid"),
                (#"{"segments": [{"index": 0, "speaker": "\u0000"}]}"#, "segments[0].speaker", "invalid"),
                (#"{"segments": [{"index": 0, "speaker": "\#(long)"}]}"#, "segments[0].speaker", "invalid"),
                (#"{"segments": [{"index": 0, "start": 1, "text": "a"}]}"#, "segments[0].start", "unknown"),
                (#"{"segments": [{"index": 0, "text": "a"}], "text": "a"}"#, "text", "unknown"),
            ]
            for (body, field, code) in cases {
                let response = try await clinic.correct(transcript: body)
                expectProblem(response, 422, "invalid-value", detail: "\(field): ", "\(body)")
                let errors = try response.json()["errors"] as? [[String: String]]
                #expect(errors == [["field": field, "code": code]], "\(body)")
            }
            for body in ["[]", "7", "null", #"{"a": "\u0000"}"#] {
                expectProblem(try await clinic.correct(notes: body), 422, "invalid-value", "\(body)")
            }
            for body in ["", "{", #"{"a" 1}"#] {
                expectProblem(try await clinic.correct(notes: body), 400, "malformed-request", "\(body)")
                expectProblem(try await clinic.correct(transcript: body), 400, "malformed-request", "\(body)")
            }
            try await clinic.expectUnchanged()
        }
    }

    @Test("A body over 1 MiB or with too many values gets 413, and another type than JSON 415")
    func tooLarge() async throws {
        try await withResults { clinic in
            let long = String(repeating: "a", count: 1 << 20)
            let many = "[" + String(repeating: "1,", count: 200_000) + "1]"
            expectProblem(try await clinic.correct(notes: #"{"a": "\#(long)"}"#), 413, "too-large")
            expectProblem(try await clinic.correct(notes: #"{"a": \#(many)}"#), 413, "too-large")
            let segment = #"{"segments": [{"index": 0, "text": "\#(long)"}]}"#
            expectProblem(try await clinic.correct(transcript: segment), 413, "too-large")
            for (method, path) in [(HTTPMethod.PATCH, "/transcript"), (.PUT, "/notes")] {
                let answer = try await clinic.request(
                    method, of: path, as: .therapist,
                    headers: ["Content-Type": "text/plain", "If-Match": try await clinic.tag(of: path)], body: "{}")
                expectProblem(answer, 415, "unsupported-media")
            }
            try await clinic.expectUnchanged()
        }
    }

    @Test("There is nothing to correct before there is a result, and a transcript that grows gets 409")
    func unfinished() async throws {
        try await withClinic { clinic in
            let body = #"{"segments": [{"index": 0, "text": "x"}]}"#
            expectProblem(
                try await clinic.correct(transcript: body, tag: "\"a\""), 404, "not-found", detail: "no transcript")
            expectProblem(try await clinic.correct(notes: "{}", tag: "\"a\""), 404, "not-found", detail: "no notes")
            try await clinic.database.report(clinic.session, .transcribing, 30)
            try await clinic.database.query(
                """
                SELECT app.add_segments(\(clinic.session.rawValue), 1, 0, '[{"start": 0, "end": 1, "text": "a"}]', NULL)
                """)
            expectProblem(try await clinic.correct(transcript: body), 409, "conflict", detail: "grows")
        }
    }

    @Test("The history shows who replaced what and when, newest first, and is empty before the first correction")
    func history() async throws {
        try await withResults { clinic in
            #expect(try await clinic.history().isEmpty)
            #expect(try await clinic.request(.GET, of: "/history", as: .admin).text == #"{"items":[]}"#)
            let first = try await clinic.correct(transcript: #"{"segments": [{"index": 0, "text": "x"}]}"#)
            #expect(first.status == 204)
            #expect(try await clinic.correct(notes: #"{"b": 1}"#, as: .admin).status == 204)
            try await clinic.database.query("SELECT app.store_notes(\(clinic.session.rawValue), 1, '{}')")
            let items = try await clinic.history()
            #expect(items.map { $0["kind"] as? String } == ["notes", "notes", "transcript"])
            #expect(
                items.map { $0["by"] as? String }
                    == [nil, clinic.id(.admin).description, clinic.id(.therapist).description])
            #expect(items[0]["by"] is NSNull)
            #expect(items.allSatisfy { $0["attempt"] as? Int == 1 })
            #expect(items.allSatisfy { Set($0.keys) == ["kind", "at", "by", "attempt", "content"] })
            let times = items.compactMap { Timestamp(rfc3339: $0["at"] as? String ?? "") }
            #expect(times.count == 3)
            #expect(times == times.sorted(by: >))
            #expect((items[2]["content"] as? [String: any Sendable])?["text"] as? String == "Guten Tag. Wie geht es?")
            // Notes keep their form.
            let text = try await clinic.request(.GET, of: "/history", as: .therapist).text
            #expect(text.contains(#""content":\#(Self.notes)"#))
            // The history goes with the session.
            #expect(try await clinic.request(.DELETE, of: "", as: .therapist).status == 204)
            #expect(try await clinic.database.query("SELECT FROM app.result_history").isEmpty)
        }
    }

    @Test("A history that is larger than one part comes whole")
    func longHistory() async throws {
        try await withResults { clinic in
            let filler = String(repeating: "x", count: 400_000)
            for number in 0..<7 {
                try await clinic.database.query(
                    """
                    INSERT INTO app.result_history (session_id, kind, attempt, body, stored_at)
                    VALUES (\(clinic.session.rawValue), 'notes', 1,
                            json_build_object('number', \(Int32(number)), 'filler', \(filler)::text), now())
                    """)
            }
            let numbers = try await clinic.history().map {
                ($0["content"] as? [String: any Sendable])?["number"] as? Int
            }
            #expect(numbers == [6, 5, 4, 3, 2, 1, 0])
            let head = try await clinic.request(.HEAD, of: "/history", as: .therapist)
            #expect(head.status == 200)
            #expect(head.body.isEmpty)
        }
    }

    @Test("A history that is full takes no correction: 409")
    func full() async throws {
        try await withResults { clinic in
            try await clinic.database.query(
                """
                INSERT INTO app.result_history (session_id, kind, attempt, body, stored_at)
                SELECT \(clinic.session.rawValue), 'notes', 1, '{}', now() FROM generate_series(1, 1000)
                """)
            expectProblem(try await clinic.correct(notes: "{}"), 409, "conflict", detail: "too many earlier")
            let correction = try await clinic.correct(transcript: #"{"segments": [{"index": 0, "text": "x"}]}"#)
            expectProblem(correction, 409, "conflict", detail: "too many earlier")
            // The same state again needs no room.
            #expect(try await clinic.correct(notes: Self.notes).status == 204)
        }
    }

    @Test("During a second run people read and correct the earlier results, which then go into the history")
    func again() async throws {
        try await withResults { clinic in
            let database = clinic.database
            try await database.query(
                "UPDATE app.therapy_sessions SET recording = 'key' WHERE id = \(clinic.session.rawValue)")
            let retry = try await clinic.post(
                "/api/sessions/\(clinic.session)/retry", #"{"again": true}"#, as: .therapist)
            #expect(retry.status == 202)
            #expect(try await clinic.correct(notes: #"{"while": "running"}"#).status == 204)
            let pipeline = try await PipelineAccount(clinic.server)
            let claim = try PipelineAccount.Claim(try await pipeline.claim())
            #expect(claim.session == clinic.session)
            #expect(try await pipeline.report("transcribing", 30, of: claim).status == 200)
            #expect(try await pipeline.put("transcript", #""text": "neu", "segments": []"#, of: claim).status == 204)
            #expect(try await pipeline.put("notes", #""new": 1"#, of: claim).status == 204)
            #expect(try await clinic.request(.GET, of: "/notes", as: .therapist).text == #"{"new":1}"#)
            let items = try await clinic.history()
            #expect(items.map { $0["kind"] as? String } == ["notes", "transcript", "notes"])
            #expect(items.map { $0["attempt"] as? Int } == [1, 1, 1])
            #expect(items[2]["by"] as? String == clinic.id(.therapist).description)
        }
    }

    @Test("Each correction is in the audit log once, and so is a refused one, and a read of the history")
    func audit() async throws {
        try await withResults { clinic in
            for number in 0..<2 { #expect(try await clinic.correct(notes: #"{"a": \#(number)}"#).status == 204) }
            expectProblem(try await clinic.correct(notes: "{}", tag: "\"a\"", as: .patient), 403, "forbidden")
            expectProblem(try await clinic.request(.GET, of: "/history", as: .patient), 403, "forbidden")
            _ = try await clinic.history()
            let records = try await clinic.database.audit("action IN ('notes.correct', 'history.read')")
            #expect(
                records.map { "\($0.action) \($0.isAllowed)" } == [
                    "notes.correct true", "notes.correct true", "notes.correct false", "history.read false",
                    "history.read true",
                ])
            #expect(records.allSatisfy { $0.requestID != nil && $0.session == clinic.session })
        }
    }

    /// Lends a clinic whose session is processed, with a transcript and notes.
    private func withResults(_ body: @escaping @Sendable (Clinic) async throws -> Void) async throws {
        try await withClinic { clinic in
            let (database, session) = (clinic.database, clinic.session.rawValue)
            try await database.report(clinic.session, .transcribing, 30)
            try await database.query(
                "SELECT app.store_transcript(\(session), 1, \(PostgresJSON(text: Self.transcript)))")
            try await database.query("SELECT app.store_notes(\(session), 1, \(Self.notes)::text::json)")
            try await database.report(clinic.session, .transcribed, 60)
            try await database.report(clinic.session, .processed, 100)
            try await body(clinic)
        }
    }
}

extension Clinic {
    /// The tag of the present transcript or notes.
    fileprivate func tag(of path: String) async throws -> String {
        try #require(try await request(.GET, of: path, as: .admin).headers.first(name: "ETag"))
    }

    /// Corrects the transcript, with its present tag.
    fileprivate func correct(transcript body: String) async throws -> TestResponse {
        try await correct(transcript: body, tag: try await tag(of: "/transcript"))
    }

    /// Corrects the transcript, with a tag or without one.
    fileprivate func correct(transcript body: String, tag: String?) async throws -> TestResponse {
        try await request(.PATCH, of: "/transcript", as: .therapist, headers: headers(tag), body: body)
    }

    /// Corrects the notes, with their present tag.
    fileprivate func correct(notes body: String, as caller: Caller = .therapist) async throws -> TestResponse {
        try await correct(notes: body, tag: try await tag(of: "/notes"), as: caller)
    }

    /// Corrects the notes, with a tag or without one.
    fileprivate func correct(
        notes body: String, tag: String?, as caller: Caller = .therapist
    ) async throws -> TestResponse {
        try await request(.PUT, of: "/notes", as: caller, headers: headers(tag), body: body)
    }

    private func headers(_ tag: String?) -> [String: String] {
        ["Content-Type": "application/json"].merging(tag.map { ["If-Match": $0] } ?? [:]) { $1 }
    }

    /// The history of the session.
    fileprivate func history() async throws -> [[String: any Sendable]] {
        let response = try await request(.GET, of: "/history", as: .therapist)
        #expect(response.status == 200)
        #expect(response.headers["Content-Type"] == ["application/json; charset=utf-8"])
        #expect(response.headers["Cache-Control"] == ["no-store"])
        return try #require(try response.json()["items"] as? [[String: any Sendable]])
    }

    fileprivate func expectUnchanged() async throws {
        #expect(try await database.query("SELECT FROM app.result_history").isEmpty)
    }
}
