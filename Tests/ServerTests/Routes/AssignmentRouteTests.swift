import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct AssignmentRouteTests {
    private func path(_ therapist: UserID, _ patient: UserID) -> String {
        "/api/therapists/\(therapist)/patients/\(patient)"
    }

    @Test("Assigning and unassigning are idempotent, and unassigning ends the streams")
    func assign() async throws {
        try await withServer(["SSE_UPDATE_INTERVAL": "3600"]) { server in
            let clinic = try await Clinic(server)
            let path = path(clinic.id(.stranger), clinic.id(.patient))
            for _ in 0..<2 {
                for _ in 0..<2 {
                    let response = try await clinic.request(.PUT, path, as: .admin)
                    #expect(response.status == 204)
                    #expect(response.body.isEmpty)
                }
                try await server.withStream(
                    clinic.streamOfSession, token: clinic.token(.stranger)
                ) { reader in
                    _ = try await reader.next("progress")
                    for _ in 0..<2 { #expect(try await clinic.request(.DELETE, path, as: .admin).status == 204) }
                    #expect(try await reader.rest().map(\.event) == ["revoked"])
                }
                #expect(try await clinic.request(.GET, of: "", as: .stranger).status == 403)
            }
            #expect(try await clinic.request(.GET, of: "", as: .therapist).status == 200)
        }
    }

    @Test("An unknown user gets 404, and a user with another role 422")
    func refusals() async throws {
        try await withClinic { clinic in
            let (therapist, patient) = (clinic.id(.stranger), clinic.id(.patient))
            for method in [HTTPMethod.PUT, .DELETE] {
                for (path, status, detail) in [
                    (path(.random(), patient), 404, "user"), (path(therapist, .random()), 404, "user"),
                    (path(patient, therapist), 422, "therapist_id"), (path(therapist, therapist), 422, "patient_id"),
                    (path(clinic.id(.admin), patient), 422, "therapist_id"),
                    ("/api/therapists/x/patients/\(patient)", 422, "therapist_id"),
                    ("/api/therapists/\(therapist)/patients/x", 422, "patient_id"),
                ] {
                    expectProblem(
                        try await clinic.request(method, path, as: .admin), status, detail: detail, "\(method) \(path)")
                }
            }
        }
    }
}
