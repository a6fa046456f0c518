import Domain
import Postgres
import PostgresTestSupport
import ServerTestSupport
import Testing

/// A therapist with two patients, and a patient without a therapist.
struct CaseloadScene: Sendable {
    let server: TestServer
    let therapist: UserID
    let patients: [UserID]
    let stranger: UserID
    let token: String
    let signIn: SignInID

    var database: TestDatabase { server.database }

    init(_ server: TestServer) async throws {
        self.server = server
        therapist = try await server.database.addUser(.therapist)
        patients = [try await server.database.addUser(.patient), try await server.database.addUser(.patient)]
        stranger = try await server.database.addUser(.patient)
        for patient in patients { try await server.database.assign(therapist, to: patient) }
        (token, signIn) = try await server.signIn(therapist)
    }

    func finish(_ session: SessionID) async throws {
        for (status, progress) in [(SessionStatus.transcribing, 20), (.transcribed, 60), (.processed, 100)] {
            try await database.report(session, status, progress)
        }
    }

    /// Lends the stream.
    ///
    /// `body` gets the events before `ready`, and then the rest of the stream.
    func follow<Result>(
        as token: String? = nil, lastEventID: String? = nil,
        _ body: ([StreamedEvent], EventReader) async throws -> Result
    ) async throws -> Result {
        let query = lastEventID.map { "?last_event_id=\($0)" } ?? ""
        return try await server.withStream(Clinic.streamOfAll + query, token: token ?? self.token) { reader in
            var events: [StreamedEvent] = []
            while events.last?.event != "ready" { events.append(try #require(try await reader.nextEvent())) }
            return try await body(events, reader)
        }
    }
}
