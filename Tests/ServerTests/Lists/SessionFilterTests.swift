import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import PropertySupport
import ServerTestSupport
import TestSupport
import Testing

/// The filters, orders and counts of `GET /api/sessions`.
@Suite(.deadline) struct SessionFilterTests {
    private struct ListedPage {
        var ids: [String]
        var cursor: String?
        var counts: [String: Int]?
    }

    private func page(_ clinic: Clinic, as caller: Clinic.Caller, _ query: String) async throws -> ListedPage {
        let response = try await clinic.request(.GET, "/api/sessions?\(query)", as: caller)
        try #require(response.status == 200, "\(query): \(response.text)")
        let json = try response.json()
        let items = try #require(json["items"] as? [[String: any Sendable]])
        return ListedPage(
            ids: items.compactMap { $0["id"] as? String }, cursor: json["next_cursor"] as? String,
            counts: (json["counts"] as? [String: any Sendable])?.compactMapValues { $0 as? Int })
    }

    /// All pages of a list, and the counts of the first.
    private func list(
        _ clinic: Clinic, as caller: Clinic.Caller, _ query: String, limit: Int,
        betweenPages: () async throws -> Void = {}
    ) async throws -> ListedPage {
        var whole = try await page(clinic, as: caller, "\(query)&limit=\(limit)")
        // A bound, so that a cursor that does not advance fails the test instead of running forever.
        for _ in 0..<200 {
            guard let cursor = whole.cursor else { break }
            try await betweenPages()
            let next = try await page(clinic, as: caller, "\(query)&limit=\(limit)&cursor=\(cursor)")
            #expect(next.counts == nil)
            whole.ids += next.ids
            whole.cursor = next.cursor
        }
        return whole
    }

    /// A clinic without its session, whose patient and other patient have random sessions.
    private func withCollection(
        seed: UInt64, count: Int, _ body: @escaping @Sendable (Clinic, SessionCollection) async throws -> Void
    ) async throws {
        try await withClinic { clinic in
            try await clinic.database.query("DELETE FROM app.therapy_sessions")
            var generator = SeededGenerator(seed: seed)
            let patients = [clinic.id(.patient), clinic.id(.otherPatient), try await clinic.database.addUser(.patient)]
            let collection = try await SessionCollection(
                of: patients, count: count, in: clinic.database, &generator)
            try await body(clinic, collection)
        }
    }

    /// The patients whose sessions a caller sees.
    private func patients(_ clinic: Clinic, _ caller: Clinic.Caller, _ collection: SessionCollection) -> Set<UserID> {
        switch caller {
        case .admin: Set(collection.entries.map(\.patient))
        case .therapist, .patient: [clinic.id(.patient)]
        case .otherPatient: [clinic.id(.otherPatient)]
        case .stranger, .former, .nominal, .pipeline: []
        }
    }

    @Test("Every filter alone selects what it says, in both orders, for every caller")
    func alone() async throws {
        try await withCollection(seed: 1, count: 60) { clinic, collection in
            let times = Set(collection.entries.map(\.heldAt)).sorted()
            let middle = times[times.count / 2]
            var filters: [SessionCollection.Filter] = [.init(), .init(sort: "session_date"), .init(sort: "created_at")]
            filters += SessionStatus.allCases.map { .init(statuses: [$0]) }
            filters.append(.init(statuses: [.failed, .pending, .processed]))
            filters.append(.init(statuses: [.failed, .failed]))
            filters += SessionCollection.texts.map { .init(text: $0) }
            filters += [
                .init(from: middle), .init(to: middle), .init(from: middle, to: middle),
                .init(from: middle, to: times[0]),
            ]
            for caller in Clinic.Caller.allCases {
                let seen = patients(clinic, caller, collection)
                for filter in filters {
                    let listed = try await page(clinic, as: caller, filter.query + "&limit=200")
                    #expect(listed.ids == collection.ids(filter, within: seen), "\(caller) \(filter.query)")
                    #expect(listed.counts == collection.counts(filter, within: seen), "\(caller) \(filter.query)")
                    #expect(listed.cursor == nil)
                }
            }
        }
    }

    @Test("Random filters together select and count what a plain search does, on pages of any size")
    func together() async throws {
        try await withCollection(seed: 2, count: 80) { clinic, collection in
            try await holds(forCases: 120) { generator in
                var filter = SessionCollection.Filter()
                if generator.happens(oneIn: 2) {
                    filter.statuses = (0..<Int.random(in: 1...4, using: &generator)).map { _ in
                        generator.pick(SessionStatus.allCases)
                    }
                }
                let caller = generator.pick([Clinic.Caller.admin, .admin, .therapist, .patient, .otherPatient])
                let seen = patients(clinic, caller, collection)
                if generator.happens(oneIn: 4) {
                    filter.patient = generator.pick(seen.sorted { $0.description < $1.description })
                }
                if generator.happens(oneIn: 3) { filter.text = generator.pick(SessionCollection.texts) }
                if generator.happens(oneIn: 3) { filter.from = SessionCollection.time(&generator) }
                if generator.happens(oneIn: 3) { filter.to = SessionCollection.time(&generator) }
                filter.sort = generator.pick([nil, "created_at", "session_date"])
                let limit = generator.pick([1, 2, 7, 50])
                let listed = try await list(clinic, as: caller, filter.query, limit: limit)
                let (ids, counts) = (collection.ids(filter, within: seen), collection.counts(filter, within: seen))
                if listed.ids != ids { return "\(caller) \(filter.query) limit \(limit): \(listed.ids), not \(ids)" }
                if listed.counts != counts {
                    return "\(caller) \(filter.query): \(listed.counts ?? [:]), not \(counts)"
                }
                return nil
            }
        }
    }

    @Test(
        "Pages have no gap and no repeat over equal times while sessions are added, in both orders",
        arguments: ["created_at", "session_date"])
    func ties(sort: String) async throws {
        try await withCollection(seed: 3, count: 40) { clinic, collection in
            for (caller, query) in [
                (Clinic.Caller.admin, ""), (.therapist, ""), (.admin, "&q=100"),
                (.admin, "&status=failed,processed,pending"),
            ] {
                let before = try await list(clinic, as: caller, "sort=\(sort)\(query)", limit: 200).ids
                let paged = try await list(clinic, as: caller, "sort=\(sort)\(query)", limit: 3) {
                    // It comes before all others, in both orders.
                    _ = try await clinic.database.addSession(of: clinic.id(.patient))
                }
                #expect(paged.ids == before, "\(caller) \(query)")
                try await clinic.database.query(
                    "DELETE FROM app.therapy_sessions WHERE created_at > now() - interval '1 day'")
            }
        }
    }

    @Test("A change of a session moves it in the list: its date, file, patient and status")
    func changes() async throws {
        try await withClinic { clinic in
            let database = clinic.database
            let older = try await database.addSession(of: clinic.id(.patient))
            let newer = try await database.addSession(of: clinic.id(.patient))
            let first = clinic.session
            func ids(_ query: String) async throws -> [String] { try await page(clinic, as: .admin, query).ids }
            #expect(
                try await ids("sort=session_date") == [newer.description, older.description, first.description])
            let change = try await clinic.request(
                .PATCH, "/api/sessions/\(newer)", as: .therapist, headers: ["Content-Type": "application/json"],
                body: #"{"session_date":"2001-01-01T00:00:00Z"}"#)
            #expect(change.status == 200)
            #expect(
                try await ids("sort=session_date") == [older.description, first.description, newer.description])
            #expect(try await ids("sort=created_at") == [newer.description, older.description, first.description])
            #expect(try await ids("from=2001-01-01T00:00:00Z&to=2001-01-01T00:00:00.000001Z") == [newer.description])
            #expect(try await ids("to=2001-01-01T00:00:00Z") == [])
            // Without a date, the creation counts.
            _ = try await clinic.request(
                .PATCH, "/api/sessions/\(newer)", as: .therapist, headers: ["Content-Type": "application/json"],
                body: #"{"session_date":null}"#)
            #expect(try await ids("to=2001-01-02T00:00:00Z") == [])

            try await database.query(
                "UPDATE app.therapy_sessions SET filename = 'Straße 1.mp3' WHERE id = \(older.rawValue)")
            #expect(try await ids("q=STRAßE") == [older.description])
            try await database.query(
                """
                UPDATE app.therapy_sessions SET patient_id = \(clinic.id(.otherPatient).rawValue)
                WHERE id = \(older.rawValue)
                """)
            #expect(try await ids("patient_id=\(clinic.id(.otherPatient))") == [older.description])
            #expect(try await page(clinic, as: .therapist, "q=1.mp3").ids == [])
            try await database.report(older, .failed, 0, error: "broken")
            #expect(try await ids("status=failed") == [older.description])
            #expect(try await ids("status=pending").count == 2)
        }
    }

    @Test("The counts of every list follow every change, before and after the changes are added up")
    func counts() async throws {
        try await withCollection(seed: 4, count: 30) { clinic, collection in
            let database = clinic.database
            let times = Set(collection.entries.map(\.heldAt)).sorted()
            let (early, late) = (times[times.count / 4], times[times.count * 3 / 4])
            func check(_ comment: Comment) async throws {
                // By date, a period is counted by days. A therapist's list is counted by patients.
                for (caller, query, condition) in [
                    (Clinic.Caller.admin, "limit=1", "true"),
                    (.admin, "limit=1&sort=session_date&to=\(late)", "l.held_at < '\(late)'"),
                    (
                        .admin, "limit=1&sort=session_date&from=\(early)&to=\(late)",
                        "l.held_at >= '\(early)' AND l.held_at < '\(late)'"
                    ),
                    (.therapist, "limit=1", "l.patient_id = '\(clinic.id(.patient))'"),
                ] {
                    let counted = try await database.query(
                        """
                        SELECT l.status::text AS status, count(*) AS n FROM (
                            SELECT p.status, t.patient_id, coalesce(t.session_date, t.created_at) AS held_at
                            FROM app.session_progress p JOIN app.therapy_sessions t ON t.id = p.session_id) l
                        WHERE \(unescaped: condition) GROUP BY l.status
                        """)
                    var expected = Dictionary(uniqueKeysWithValues: SessionStatus.allCases.map { ($0.rawValue, 0) })
                    for row in counted {
                        expected[try row.decode("status", as: String.self)] = Int(try row.decode("n", as: Int64.self))
                    }
                    #expect(
                        try await page(clinic, as: caller, query).counts == expected, "\(comment): \(caller) \(query)")
                }
            }
            try await check("at first")
            try await database.query("SELECT app.fold_session_counts()")
            try await check("added up")
            let failed = try #require(collection.entries.first { $0.status == .failed })
            try await database.query(
                "UPDATE app.session_progress SET status = 'pending' WHERE session_id = \(failed.id.rawValue)")
            try await database.query("DELETE FROM app.therapy_sessions WHERE id = \(collection.entries[0].id.rawValue)")
            let added = try await database.addSession(of: clinic.id(.patient))
            try await check("changed since")
            try await database.query(
                """
                UPDATE app.therapy_sessions SET session_date = \(early), patient_id = \(clinic.id(.otherPatient).rawValue)
                WHERE id = \(added.rawValue)
                """)
            try await check("moved to another day and patient")
            try await database.query("SELECT app.fold_session_counts()")
            try await check("added up again")
            let erasure = try await clinic.request(
                .DELETE, "/api/patients/\(clinic.id(.otherPatient))/data", as: .admin)
            #expect(erasure.status == 200)
            try await check("erased")
            try await database.query("SELECT app.fold_session_counts()")
            try await check("erased and added up")
            try await database.query("TRUNCATE app.therapy_sessions CASCADE")
            try await check("emptied")
        }
    }

    @Test("Reports about sessions of the same status do not wait for each other's commit to be counted")
    func noHotRow() async throws {
        try await withClinic { clinic in
            let database = clinic.database
            let other = try await database.addSession(of: clinic.id(.patient))
            try await database.query("SELECT app.fold_session_counts()")
            try await database.withConnection { first in
                try await first.executeScript("BEGIN")
                _ = try await first.query(
                    "UPDATE app.session_progress SET status = 'failed' WHERE session_id = \(other.rawValue)")
                // A lock of the open transaction would stay, and this connection would fail.
                try await database.withConnection { second in
                    try await second.executeScript("SET lock_timeout = '5s'")
                    _ = try await second.query(
                        "UPDATE app.session_progress SET status = 'failed' WHERE session_id = \(clinic.session.rawValue)"
                    )
                    _ = try await second.query("SELECT app.fold_session_counts()")
                }
                let counts = try await page(clinic, as: .admin, "").counts
                #expect(counts?["failed"] == 1)
                #expect(counts?["pending"] == 1)
                try await first.executeScript("COMMIT")
            }
            #expect(try await page(clinic, as: .admin, "").counts?["failed"] == 2)
        }
    }

    @Test("A session names its patient and its therapist wherever it is shown, and a name is shown to nobody else")
    func names() async throws {
        try await withClinic { clinic in
            let database = clinic.database
            try await database.query(
                "UPDATE app.users SET full_name = 'Name of ' || email WHERE email LIKE '%@clinic.example'")
            let session = "/api/sessions/\(clinic.session)"
            for caller in [Clinic.Caller.patient, .therapist, .admin] {
                for path in [session, "/api/sessions"] {
                    let text = try await clinic.request(.GET, path, as: caller).text
                    #expect(text.contains(#""patient_name":"Name of patient@clinic.example""#), "\(caller) \(path)")
                    #expect(text.contains(#""therapist_name":"Name of nominal@clinic.example""#), "\(caller) \(path)")
                }
            }
            for caller in [Clinic.Caller.otherPatient, .stranger, .former, .nominal, .pipeline] {
                let one = try await clinic.request(.GET, session, as: caller)
                #expect(!one.text.contains("Name of"), "\(caller)")
                for query in ["", "?q=Name", "?q=patient@clinic", "?sort=session_date", "?status=pending"] {
                    let list = try await clinic.request(.GET, "/api/sessions\(query)", as: caller)
                    #expect(list.status == 200)
                    #expect(!list.text.contains("Name of"), "\(caller) \(query)")
                    #expect(!list.text.contains(":1"), "\(caller) \(query)")
                }
            }
            let uploaded = try await clinic.upload(Upload(patient: clinic.id(.patient), file: .wav), as: .therapist)
            #expect(uploaded.status == 201)
            #expect(uploaded.text.contains(#""patient_name":"Name of patient@clinic.example""#))
            #expect(uploaded.text.contains(#""therapist_name":"Name of therapist@clinic.example""#))
            let anonymous = try await database.addSession(of: clinic.id(.patient))
            let json = try await clinic.request(.GET, "/api/sessions/\(anonymous)", as: .patient).json()
            #expect(json["therapist_name"] is NSNull)
        }
    }

    @Test("A page keeps its entity tag, and gets 304, until something on it changes")
    func entityTag() async throws {
        try await withClinic { clinic in
            func page(_ tag: String?, as caller: Clinic.Caller) async throws -> TestResponse {
                try await clinic.request(
                    .GET, "/api/sessions?status=pending,transcribing", as: caller,
                    headers: tag.map { ["If-None-Match": $0] } ?? [:])
            }
            var tags: [Clinic.Caller: String] = [:]
            for caller in [Clinic.Caller.patient, .therapist, .otherPatient] {
                let first = try await page(nil, as: caller)
                let tag = try #require(first.headers.first(name: "ETag"))
                let again = try await page(tag, as: caller)
                #expect(again.status == 304 && again.body.isEmpty && again.headers["ETag"] == [tag])
                tags[caller] = tag
            }
            try await clinic.database.report(clinic.session, .transcribing, 21)
            #expect(try await page(tags[.patient], as: .patient).status == 200)
            #expect(try await page(tags[.therapist], as: .therapist).status == 200)
            #expect(try await page(tags[.otherPatient], as: .otherPatient).status == 304)
            // Another caller's tag says nothing about one's own list.
            #expect(try await page(tags[.otherPatient], as: .patient).status == 200)
        }
    }

    @Test("A cursor of the other order, an unknown parameter and a repeated one get 422, with an error for each")
    func refusals() async throws {
        try await withCollection(seed: 5, count: 5) { clinic, _ in
            let cursor = try #require(try await page(clinic, as: .admin, "limit=1").cursor)
            let other = try #require(try await page(clinic, as: .admin, "limit=1&sort=session_date").cursor)
            let cases: [(String, [(String, String)])] = [
                ("cursor=\(other)", [("cursor", "invalid")]),
                ("sort=session_date&cursor=\(cursor)", [("cursor", "invalid")]),
                ("statuss=failed", [("statuss", "unknown")]), ("Status=failed", [("Status", "unknown")]),
                ("offset=1&page=2&limit=1", [("offset", "unknown"), ("page", "unknown")]),
                ("status=failed&status=pending", [("status", "repeated")]),
                ("q=" + String(repeating: "x", count: 201), [("q", "too_long")]),
            ]
            for (query, errors) in cases {
                let response = try await clinic.request(.GET, "/api/sessions?\(query)", as: .admin)
                expectProblem(response, 422, "invalid-value", detail: errors[0].0, "\(query)")
                let found = try response.json()["errors"] as? [[String: any Sendable]] ?? []
                #expect(found.map { $0["field"] as? String } == errors.map(\.0), "\(query)")
                #expect(found.map { $0["code"] as? String } == errors.map(\.1), "\(query)")
            }
            let long = String(repeating: "n", count: 3000)
            let response = try await clinic.request(.GET, "/api/sessions?\(long)=1", as: .admin)
            expectProblem(response, 422, "invalid-value")
            #expect(response.text.count < 1000)
            #expect(try await page(clinic, as: .admin, "q=" + String(repeating: "x", count: 200)).ids == [])
        }
    }
}
