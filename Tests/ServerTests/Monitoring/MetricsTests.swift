import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct MetricsTests {
    /// With the pipeline: one stage succeeds and one fails.
    @Test("docs/metrics.md lists every metric with its type and labels, and no label holds an id, an address or a text")
    func documented() async throws {
        try await withWorkerScene(transcribing: Script.transcribes, notes: "exit 3") { scene, _ in
            let admin = try await scene.server.token(try await scene.database.addUser(.admin))
            let session = try await scene.upload()
            #expect(try await scene.watchToEnd(session).last?.event == "error")
            for path in ["", "/status", "/status?last_event_id=1", "/events", "/transcript", "/notes", "/recording"] {
                _ = try await scene.get(path, session)
            }
            _ = try await scene.server.request(.GET, "/api/sessions/\(session)x/status", token: admin)
            _ = try await scene.server.request(.GET, "/nobody@clinic.example", token: admin)
            _ = try await scene.server.post(
                "/api/auth/login", #"{"email":"nobody@clinic.example","password":"wrong horse"}"#)
            // The worker counts the session after the report that ends the stream.
            func metrics() async throws -> String {
                try await scene.server.request(.GET, "/metrics", token: admin).text
            }
            try await eventually("the failed session is counted") {
                try await metrics().contains("\ntherapybridge_pipeline_sessions_total{outcome=\"failed\"} 1\n")
            }

            let scrape = try Scrape(try await metrics())
            let documented = try MetricsDocument().rows
            #expect(Set(scrape.types.keys) == Set(documented.keys))
            for (metric, row) in documented {
                #expect(scrape.types[metric] == row.type, "\(metric)")
                #expect(scrape.labels(of: metric) == row.labels, "\(metric)")
                #expect(scrape.meanings[metric] == row.meaning, "\(metric)")
                #expect(metric.hasSuffix("_total") == (row.type == "counter"), "\(metric)")
            }
            #expect(scrape.samples.allSatisfy { documented[scrape.metric(of: $0)] != nil })
            #expect(scrape.value("therapybridge_metrics_refused_total") == 0)
            for label in Set(scrape.samples.flatMap(\.labels.values)) {
                #expect(label.firstMatch(of: /[0-9a-f]{8}-[0-9a-f]{4}|@|\?/.ignoresCase()) == nil, "\(label)")
            }

            for (stage, code, count) in [
                ("notes", "exited", 1.0), ("notes", "stalled", 0), ("measurement", "tooLong", 0),
            ] {
                let labels = ["stage": stage, "code": code]
                #expect(scrape.value("therapybridge_pipeline_stage_failures_total", labels) == count, "\(labels)")
            }
            #expect(scrape.value("therapybridge_pipeline_claims_total") == 1)
            #expect(scrape.value("therapybridge_pipeline_sessions_total", ["outcome": "processed"]) == 0)
            for (stage, outcome, count) in [
                ("transcription", "finished", 1.0), ("transcription", "failed", 0), ("notes", "finished", 0),
                ("notes", "failed", 1), ("notes", "abandoned", 0),
            ] {
                let labels = ["stage": stage, "outcome": outcome]
                let counted = scrape.value("therapybridge_pipeline_stage_duration_seconds_count", labels)
                #expect(counted == count, "\(labels)")
            }
        }
    }

    @Test("Two servers in one process have separate metrics")
    func separate() async throws {
        try await withClinic { first in
            for _ in 1...5 { _ = try await first.request(.GET, "/health", as: nil) }
            try await withServer { second in
                let clinic = try await Clinic(second)
                _ = try await clinic.request(.GET, "/health", as: nil)
                let labels = ["method": "GET", "route": "/health", "status": "200"]
                #expect(try await clinic.scrape().value("therapybridge_http_requests_total", labels) == 1)
                #expect(try await first.scrape().value("therapybridge_http_requests_total", labels) == 5)
            }
        }
    }
}
