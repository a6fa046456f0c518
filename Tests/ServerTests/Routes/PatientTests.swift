import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct PatientTests {
    @Test("The list names the patients that the caller may upload for")
    func patients() async throws {
        try await withClinic { clinic in
            let inactive = try await clinic.database.addUser(.patient, isActive: false)
            try await clinic.database.assign(clinic.id(.therapist), to: inactive)
            func ids(_ caller: Clinic.Caller) async throws -> Set<String> {
                let response = try await clinic.request(.GET, "/api/patients", as: caller)
                #expect(response.status == 200, "\(caller)")
                let items = try #require(try response.json()["items"] as? [[String: any Sendable]])
                for item in items { #expect(Set(item.keys) == ["id", "email", "full_name", "role"]) }
                return Set(items.compactMap { $0["id"] as? String })
            }
            let (patient, other) = (clinic.id(.patient).description, clinic.id(.otherPatient).description)
            #expect(try await ids(.therapist) == [patient])
            #expect(try await ids(.former) == [])
            #expect(try await ids(.nominal) == [])
            #expect(try await ids(.admin) == [patient, other])
            for caller in [Clinic.Caller.patient, .pipeline] {
                expectProblem(try await clinic.request(.GET, "/api/patients", as: caller), 403, "forbidden")
            }
        }
    }
}
