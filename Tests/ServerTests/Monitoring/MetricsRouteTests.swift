import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct MetricsRouteTests {
    @Test("Only an administrator may read the metrics")
    func rights() async throws {
        try await withClinic { clinic in
            expectProblem(try await clinic.request(.GET, "/metrics", as: nil), 401, "unauthorized")
            for caller in Clinic.Caller.allCases where caller != .admin {
                expectProblem(try await clinic.request(.GET, "/metrics", as: caller), 403, "forbidden", "\(caller)")
            }
            #expect(try await clinic.request(.GET, "/metrics", as: .admin).status == 200)
            let head = try await clinic.request(.HEAD, "/metrics", as: .admin)
            #expect(head.status == 200)
            #expect(head.body.isEmpty)
            expectProblem(try await clinic.request(.POST, "/metrics", as: .admin), 405, "method-not-allowed")
        }
    }

    @Test("GET /metrics answers in the text format, whatever a Prometheus prefers")
    func format() async throws {
        try await withClinic { clinic in
            for accept in [
                // Prometheus 2, Prometheus 3, and curl.
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                "*/*",
            ] {
                let response = try await clinic.request(.GET, "/metrics", as: .admin, headers: ["Accept": accept])
                #expect(response.status == 200)
                #expect(response.headers["Content-Type"] == ["text/plain; version=0.0.4; charset=utf-8"])
                #expect(response.headers["Cache-Control"] == ["no-store"])
                _ = try Scrape(response.text)
            }
            let headers = ["Accept": "application/json"]
            expectProblem(
                try await clinic.request(.GET, "/metrics", as: .admin, headers: headers), 406, "not-acceptable")
        }
    }

    @Test("Requests are counted by the route's template, and unmatched paths together")
    func requests() async throws {
        try await withClinic { clinic in
            for _ in 1...3 { _ = try await clinic.request(.GET, of: "/status", as: .patient) }
            _ = try await clinic.request(.GET, of: "/status", as: .stranger)
            _ = try await clinic.request(.GET, "/api/sessions/\(SessionID.random())/status", as: .admin)
            for path in ["/nothing", "/api/sessions/\(clinic.session)/nothing", "/%00"] {
                _ = try await clinic.request(.GET, path, as: .patient)
            }
            _ = try await clinic.request(.PATCH, of: "/status", as: .patient)
            _ = try await clinic.request(.PROPFIND, of: "/status", as: .patient)

            let scrape = try await clinic.scrape()
            func count(_ method: String, _ route: String, _ status: Int) -> Double? {
                let labels = ["method": method, "route": route, "status": "\(status)"]
                let count = scrape.value("therapybridge_http_requests_total", labels)
                #expect(count == scrape.value("therapybridge_http_request_duration_seconds_count", labels))
                return count
            }
            #expect(count("GET", "/api/sessions/{id}/status", 200) == 3)
            #expect(count("GET", "/api/sessions/{id}/status", 403) == 1)
            #expect(count("GET", "/api/sessions/{id}/status", 404) == 1)
            #expect(count("GET", "unmatched", 404) == 3)
            #expect(count("PATCH", "unmatched", 405) == 1)
            #expect(count("other", "unmatched", 405) == 1)
            let sum = scrape.value(
                "therapybridge_http_request_duration_seconds_sum",
                ["method": "GET", "route": "/api/sessions/{id}/status", "status": "200"])
            #expect((sum ?? 0) > 0)
        }
    }

    @Test("Logins are counted by their outcome")
    func signIns() async throws {
        try await withClinic { clinic in
            try await clinic.database.setPassword("correct horse", of: clinic.id(.patient))
            func signIn(_ password: String) async throws -> Int {
                let json = #"{"email":"patient@clinic.example","password":"\#(password)"}"#
                return try await clinic.post("/api/auth/login", json, as: nil).status
            }
            #expect(try await signIn("correct horse") == 200)
            #expect(try await signIn("wrong horse") == 401)
            #expect(try await signIn("wrong again") == 401)
            try await clinic.database.query(
                "UPDATE app.users SET is_active = false WHERE id = \(clinic.id(.patient).rawValue)")
            #expect(try await signIn("correct horse") == 403)
            // A malformed request is not a login.
            #expect(try await clinic.post("/api/auth/login", "{", as: nil).status == 400)

            let scrape = try await clinic.scrape()
            #expect(scrape.value("therapybridge_sign_ins_total", ["outcome": "accepted"]) == 1)
            #expect(scrape.value("therapybridge_sign_ins_total", ["outcome": "refused"]) == 3)
        }
    }

    @Test("Uploads are counted with their bytes and the reasons of failures")
    func uploads() async throws {
        try await withClinic(["UPLOAD_MAX_BYTES": "10000"]) { clinic in
            let patient = clinic.id(.patient)
            func status(_ upload: Upload) async throws -> Int { try await clinic.upload(upload, as: .patient).status }
            #expect(try await status(Upload(patient: patient, file: .wav(size: 5000))) == 201)
            // One is too large, and one is not a recording.
            #expect(try await status(Upload(patient: patient, file: .wav(size: 20_000))) == 413)
            #expect(
                try await status(Upload(patient: patient, file: UploadFile("a.wav", "audio/wav", "no wave"))) == 415)
            // The server refuses this upload before it starts.
            #expect(try await status(Upload(patient: clinic.id(.otherPatient), file: .wav)) == 403)

            let scrape = try await clinic.scrape()
            #expect(scrape.value("therapybridge_uploads_finished_total") == 1)
            func failed(_ reason: String) -> Double? {
                scrape.value("therapybridge_uploads_failed_total", ["reason": reason])
            }
            #expect(failed("too-large") == 1)
            #expect(failed("unsupported-media") == 1)
            #expect(failed("broken-off") == 0)
            #expect(failed("storage-full") == 0)
            let bytes = try #require(scrape.value("therapybridge_upload_bytes_total"))
            #expect((5000...15_000).contains(bytes))
        }
    }

    @Test("A transition counts once for each kind of stream, however many there are, and a snapshot does not count")
    func latency() async throws {
        try await withClinic { clinic in
            try await eventually("the listener is live") {
                try await clinic.scrape().text.contains("\ntherapybridge_listener_live 1\n")
            }
            let token = clinic.token(.admin)
            let path = "/api/sessions/\(clinic.session)/status/stream"
            let statuses: [SessionStatus] = [.preprocessing, .transcribing, .diarizing, .transcribed, .extractingNotes]
            try await clinic.server.withStream(path, token: token) { first in
                try await clinic.server.withStream(path, token: token) { second in
                    try await clinic.server.withStream(Clinic.streamOfAll, token: token) { all in
                        for reader in [first, second] { _ = try await reader.next("progress") }
                        while try #require(try await all.nextEvent()).event != "ready" {}
                        for status in statuses {
                            try await clinic.database.report(clinic.session, status, 60)
                            for reader in [first, second, all] {
                                #expect(try await reader.next("progress").status == status.rawValue)
                            }
                        }
                    }
                }
            }

            // The hub counts after it has given the event to the sockets.
            func count(_ streams: String) async throws -> [String: Double] {
                let scrape = try await clinic.scrape()
                let causes = ["hint", "poll", "resync", "other"].map { cause in
                    let labels = ["streams": streams, "found_by": cause]
                    return (cause, scrape.value("therapybridge_commit_to_wire_seconds_count", labels) ?? -100)
                }
                return Dictionary(uniqueKeysWithValues: causes)
            }
            for streams in ["session", "all"] {
                try await eventually("each transition is counted") {
                    try await count(streams).values.reduce(0, +) == Double(statuses.count)
                }
                let hinted = try #require(try await count(streams)["hint"])
                #expect(hinted > 0)
                let scrape = try await clinic.scrape()
                let labels = ["streams": streams]
                #expect(scrape.value("therapybridge_hint_to_wire_seconds_count", labels) == hinted)
                let sum = try #require(scrape.value("therapybridge_hint_to_wire_seconds_sum", labels))
                #expect(sum > 0)
                #expect(scrape.value("therapybridge_feed_lag_seconds") == 0)
            }
            #expect(try await clinic.scrape().value("therapybridge_hint_oldest_seconds") == 0)
        }
    }

    @Test("The metrics show the pool, the listener and the process")
    func collected() async throws {
        try await withClinic { clinic in
            try await eventually("the listener is live") {
                try await clinic.scrape().text.contains("\ntherapybridge_listener_live 1\n")
            }
            try await clinic.database.report(clinic.session, .transcribing, 30)
            try await eventually("a notification is counted") {
                try await clinic.scrape().value("therapybridge_listener_notifications_total") ?? 0 > 0
            }
            let scrape = try await clinic.scrape()
            #expect(scrape.value("therapybridge_listener_reconnects_total") == 0)
            #expect(scrape.value("therapybridge_pool_max_connections") == 4)
            let connections = ["idle", "leased"].map {
                scrape.value("therapybridge_pool_connections", ["state": $0]) ?? -1
            }
            #expect(connections.allSatisfy { (0...4).contains($0) })
            #expect(connections.reduce(0, +) >= 1)
            #expect(scrape.value("therapybridge_pool_leases_total") ?? 0 > 0)
            #expect(scrape.value("therapybridge_pool_wait_seconds_count") ?? 0 > 0)
            // The hub reads the log of rights when the server starts.
            for name in ["therapybridge_database_statements_total", "therapybridge_database_seconds_total"] {
                #expect(scrape.value(name, ["statement": "read_rights"]) ?? 0 > 0, "\(name)")
            }
            #expect(scrape.value("therapybridge_metrics_refused_total") == 0)

            let megabytes = (scrape.value("therapybridge_process_resident_memory_bytes") ?? 0) / 0x1p20
            #expect((1...100_000).contains(megabytes))
            let descriptors = try #require(scrape.value("therapybridge_process_open_descriptors"))
            #expect(descriptors > 3)
            #expect(scrape.value("therapybridge_process_max_descriptors") ?? 0 > descriptors)
            #expect(scrape.value("therapybridge_process_cpu_seconds_total") ?? 0 > 0)
            // The process started before now, and after this machine.
            let age = Date.now.timeIntervalSince1970 - (scrape.value("therapybridge_process_start_time_seconds") ?? 0)
            #expect(age > -2)
            #expect(age < ProcessInfo.processInfo.systemUptime + 2)
            #expect(
                scrape.samples.contains {
                    $0.name == "therapybridge_build_info" && $0.labels["schema"]?.wholeMatch(of: /\d{4}/) != nil
                })
        }
    }
}
