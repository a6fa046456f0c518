import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct StatusTests {
    @Test("The status is the progress object, and its entity tag gets 304 until a change")
    func entityTag() async throws {
        try await withClinic { clinic in
            func status(_ known: String? = nil) async throws -> TestResponse {
                try await clinic.request(
                    .GET, of: "/status", as: .patient, headers: known.map { ["If-None-Match": $0] } ?? [:])
            }
            let first = try await status()
            #expect(first.status == 200)
            let json = try first.json()
            #expect(Set(json.keys) == ProgressObject.members)
            #expect(json["session_id"] as? String == clinic.session.description)
            #expect(json["status"] as? String == "pending")
            #expect(json["progress"] as? Int == 0)
            #expect(json["version"] as? Int == 1)
            #expect(json["attempt"] as? Int == 1)
            for name in ["created_at", "updated_at"] {
                let time = try #require(json[name] as? String)
                #expect(time.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z/) != nil, "\(time)")
            }
            let tag = try #require(first.headers.first(name: "ETag"))
            #expect(tag.wholeMatch(of: /"[^"]+"/) != nil)

            for known in [tag, "W/\(tag)", "\"x\", \(tag)", "*"] {
                let response = try await status(known)
                #expect(response.status == 304, "\(known)")
                #expect(response.body.isEmpty)
                #expect(response.headers["ETag"] == [tag])
                #expect(!response.headers["X-Request-Id"].isEmpty)
            }
            #expect(try await status("\"x\"").status == 200)

            try await clinic.database.report(clinic.session, .transcribing, 30, message: "Transcribing")
            let second = try await status(tag)
            #expect(second.status == 200)
            #expect(second.headers.first(name: "ETag") != tag)
            #expect(try second.json()["progress"] as? Int == 30)
        }
    }
}
