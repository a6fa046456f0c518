import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct EventListTests {
    @Test("The list of events has the transitions, oldest first, and no percentages")
    func transitions() async throws {
        try await withClinic { clinic in
            try await clinic.database.report(clinic.session, .transcribing, 30, message: "Transcribing")
            try await clinic.database.report(clinic.session, .transcribing, 45)
            try await clinic.database.report(clinic.session, .failed, 45, error: "No speech was found.")
            let json = try await clinic.request(.GET, of: "/events", as: .patient).json()
            #expect(Set(json.keys) == ["items"])
            let items = try #require(json["items"] as? [[String: any Sendable]])
            for item in items {
                #expect(Set(item.keys) == ["version", "attempt", "status", "progress", "message", "error", "at"])
            }
            #expect(items.map { $0["status"] as? String } == ["pending", "transcribing", "failed"])
            #expect(items.map { $0["version"] as? Int } == [1, 2, 4])
            #expect(items.map { $0["progress"] as? Int } == [0, 30, 45])
            #expect(items.map { $0["message"] as? String } == [nil, "Transcribing", nil])
            #expect(items.map { $0["error"] as? String } == [nil, nil, "No speech was found."])
        }
    }
}
