import Domain
import Hummingbird
import Store

/// Begins a probe, for administrators: `POST /api/probes`.
///
/// A probe is a session that only its administrator sees, with a patient of its own. The administrator reports its progress and
/// follows its stream, as `therapybridge check` does, and deletes it. The server removes it after five minutes.
struct ProbeRoute: Sendable {
    let recorder: AccessRecorder
    let sessions: SessionStore

    func add(to table: inout RouteTable) {
        table.user(.post, "/api/probes", begin)
    }

    @Sendable private func begin(_ request: Request, _ context: UserContext) async throws -> Response {
        try await recorder.administrator(context, to: .beginProbe)
        guard let probe = try await sessions.beginProbe(as: context.claims.principal) else {
            throw Problem.limited(
                "A hundred probes are under way. Delete one, or try again when the oldest is five minutes old.",
                wait: .seconds(60))
        }
        return JSON.response(
            probe, status: .created, headers: [.location: "/api/sessions/\(probe.id)"])
    }
}
