import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The transcript over HTTP, in all its forms and while it grows.
@Suite(.deadline) struct TranscriptTests {
    private static let document = """
        {"text": "Guten Tag. Wie geht es?", "language": "de", "segments": [
            {"start": 0.5, "end": 2, "text": "Guten <b>Tag</b>."}, {"start": 2, "end": 4, "text": "Wie geht es?", "speaker": "A"}]}
        """

    private func store(_ json: String, _ clinic: Clinic) async throws {
        try await clinic.database.query(
            "SELECT app.store_transcript(\(clinic.session.rawValue), 1, \(PostgresJSON(text: json)))")
    }

    private func get(_ query: String, _ clinic: Clinic, headers: [String: String] = [:]) async throws -> TestResponse {
        try await clinic.request(.GET, of: "/transcript" + query, as: .patient, headers: headers)
    }

    @Test(
        "Each form has its media type and its text",
        arguments: [
            ("json", "application/json", nil), ("txt", "text/plain", "Guten <b>Tag</b>.\nA: Wie geht es?\n"),
            (
                "vtt", "text/vtt",
                "WEBVTT\n\n00:00:00.500 --> 00:00:02.000\nGuten &lt;b>Tag&lt;/b>.\n\n00:00:02.000 --> 00:00:04.000\nA: Wie geht es?\n"
            ),
            (
                "srt", "application/x-subrip",
                "1\n00:00:00,500 --> 00:00:02,000\nGuten &lt;b>Tag&lt;/b>.\n\n2\n00:00:02,000 --> 00:00:04,000\nA: Wie geht es?\n\n"
            ),
        ] as [(String, String, String?)])
    func forms(format: String, type: String, text: String?) async throws {
        try await withClinic { clinic in
            try await store(Self.document, clinic)
            let response = try await get("?format=\(format)", clinic)
            #expect(response.status == 200)
            #expect(response.headers["Content-Type"] == ["\(type); charset=utf-8"])
            #expect(response.headers["Cache-Control"] == ["no-store"])
            if let text { #expect(response.text == text) }

            let head = try await clinic.request(.HEAD, of: "/transcript?format=\(format)", as: .patient)
            #expect(head.status == 200)
            #expect(head.body.isEmpty)
            #expect(head.headers["Content-Type"] == response.headers["Content-Type"])
            #expect(head.headers["ETag"] == response.headers["ETag"])

            let accepted = try await get("?format=\(format)", clinic, headers: ["Accept": "\(type), x/y;q=0.1"])
            #expect(accepted.status == 200)
            expectProblem(
                try await get("?format=\(format)", clinic, headers: ["Accept": "image/png"]), 406, "not-acceptable")
        }
    }

    @Test("The JSON has the members of docs/http-api.md, and those that the pipeline added")
    func json() async throws {
        try await withClinic { clinic in
            try await store(Self.document, clinic)
            let json = try await get("", clinic).json()
            #expect(
                Set(json.keys) == [
                    "text", "segments", "attempt", "is_final", "is_complete", "duration_seconds", "announced_seconds",
                    "language",
                ])
            #expect(json["attempt"] as? Int == 1)
            #expect(json["is_final"] as? Bool == true)
            #expect(json["text"] as? String == "Guten Tag. Wie geht es?")
        }
    }

    @Test("From an index on, there are the later segments; past the end there are none")
    func later() async throws {
        try await withClinic { clinic in
            try await store(Self.document, clinic)
            let second = try await get("?from=1", clinic).json()
            #expect((second["segments"] as? [[String: Any]])?.map { $0["text"] as? String } == ["Wie geht es?"])
            #expect(second["text"] as? String == "Wie geht es?")
            #expect(try await get("?from=1&format=srt", clinic).text.hasPrefix("2\n"))
            for past in ["2", "99", "99999999999999999999999"] {
                let response = try await get("?from=\(past)", clinic)
                #expect(response.status == 200)
                #expect((try response.json()["segments"] as? [Any])?.isEmpty == true)
                #expect(try await get("?from=\(past)&format=txt", clinic).text.isEmpty)
            }
        }
    }

    @Test(
        "Another form, and an index that is no number from 0, get 422",
        arguments: [
            ("?format=pdf", "format"), ("?format=", "format"), ("?format=JSON", "format"), ("?from=-1", "from"),
            ("?from=x", "from"), ("?from=", "from"), ("?from=1.5", "from"), ("?format=vtt&from=%2B1", "from"),
        ])
    func refused(query: String, name: String) async throws {
        try await withClinic { clinic in
            try await store(Self.document, clinic)
            expectProblem(try await get(query, clinic), 422, "invalid-value", detail: "\(name): ")
            // A caller without the right does not learn what is wrong.
            expectProblem(
                try await clinic.request(.GET, of: "/transcript" + query, as: .stranger), 403, "forbidden")
        }
    }

    @Test("The entity tag is that of the JSON in every form, and changes with each change of it")
    func entityTag() async throws {
        try await withClinic { clinic in
            try await store(Self.document, clinic)
            let tag = try #require(try await get("", clinic).headers.first(name: "ETag"))
            #expect(!tag.hasPrefix("W/"))
            for query in ["?format=vtt", "?from=1", "?format=txt&from=1"] {
                #expect(try await get(query, clinic).headers["ETag"] == [tag])
                let known = try await get(query, clinic, headers: ["If-None-Match": tag])
                #expect(known.status == 304)
                #expect(known.body.isEmpty)
            }
            try await store(Self.document.replacing("Guten", with: "Schönen"), clinic)
            let changed = try await get("", clinic, headers: ["If-None-Match": tag])
            #expect(changed.status == 200)
            #expect(changed.headers.first(name: "ETag") != tag)
            // The same document again changes nothing.
            try await store(Self.document.replacing("Guten", with: "Schönen"), clinic)
            #expect(try await get("", clinic).headers["ETag"] == changed.headers["ETag"])
        }
    }

    @Test("A transcript that grows is there from its first segment on, until the final one replaces it")
    func grows() async throws {
        try await withClinic { clinic in
            func add(_ segments: String, first: Int32) async throws {
                try await clinic.database.query(
                    "SELECT app.add_segments(\(clinic.session.rawValue), 1, \(first), \(PostgresJSON(text: segments)), NULL)"
                )
            }
            func segments() async throws -> Int? {
                try await clinic.request(.GET, of: "/status", as: .patient).json()["segments"] as? Int
            }
            try await clinic.database.report(clinic.session, .transcribing, 20)
            try await add("[]", first: 0)
            for query in ["", "?from=0", "?format=vtt"] {
                expectProblem(try await get(query, clinic), 404, "not-found", detail: "transcript")
            }
            #expect(try await segments() == 0)

            try await add(#"[{"start": 0, "end": 1, "text": "Good"}]"#, first: 0)
            let first = try await get("", clinic)
            try await add(#"[{"start": 1, "end": 2, "text": "morning", "speaker": "B"}]"#, first: 1)
            let partial = try await get("", clinic)
            #expect(partial.headers["ETag"] != first.headers["ETag"])
            let json = try partial.json()
            #expect(json["is_final"] as? Bool == false)
            #expect(json["attempt"] as? Int == 1)
            #expect(json["is_complete"] as? Bool == true)
            #expect(json["text"] as? String == "Good morning")
            #expect((json["segments"] as? [Any])?.count == 2)
            #expect(try await segments() == 2)
            #expect(try await get("?from=1&format=txt", clinic).text == "B: morning\n")

            try await store(Self.document, clinic)
            let final = try await get("", clinic).json()
            #expect(final["is_final"] as? Bool == true)
            #expect(final["text"] as? String == "Guten Tag. Wie geht es?")
        }
    }

    @Test("New segments reach an open stream as one progress event, with the number of segments")
    func streamed() async throws {
        try await withStreamScene { scene in
            try await scene.report(.transcribing, 30)
            try await scene.withStream { stream in
                _ = try await stream.next("progress")
                let two = PostgresJSON(
                    text: #"[{"start": 0, "end": 1, "text": "secret"}, {"start": 1, "end": 2, "text": "secret"}]"#)
                try await scene.database.query(
                    "SELECT app.add_segments(\(scene.session.rawValue), 1, 0, \(two), NULL)")
                let event = try await stream.next("progress")
                let data = event.data ?? ""
                #expect(event.version == 3)
                #expect(data.contains(#""segments":2,"version":3"#))
                #expect(!data.contains("secret"))
            }
            // The change is no transition.
            #expect(try await scene.transitions() == [1, 2])
        }
    }

    @Test("A resumed stream replays each transition with the segments that the transcript had then")
    func resumed() async throws {
        try await withStreamScene { scene in
            try await scene.report(.transcribing, 30)
            let one = PostgresJSON(text: #"[{"start": 0, "end": 1, "text": "a"}]"#)
            try await scene.database.query("SELECT app.add_segments(\(scene.session.rawValue), 1, 0, \(one), NULL)")
            try await scene.report(.transcribed, 60)
            try await scene.database.failAndRetry(scene.session)
            try await scene.withStream(lastEventID: "1") { stream in
                var counts: [Int] = []
                for _ in 0..<4 {
                    let event = try #require(try await stream.nextEvent())
                    let object = try JSONSerialization.jsonObject(with: Data((event.data ?? "").utf8)) as? [String: Any]
                    counts.append(try #require(object?["segments"] as? Int))
                }
                #expect(counts == [0, 1, 1, 0])
            }
        }
    }
}
