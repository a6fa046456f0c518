import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// A route of a session, and the callers who may use it.
struct SessionRoute: Sendable, CustomTestStringConvertible {
    let method: HTTPMethod
    /// The path after the session's id.
    let path: String
    let permitted: Set<Clinic.Caller>
    var body: String?

    var testDescription: String { "\(method.rawValue) …\(path)" }

    var headers: [String: String] { body == nil ? [:] : ["Content-Type": "application/json"] }

    private static let viewers: Set<Clinic.Caller> = [.patient, .therapist, .admin]
    private static let managers: Set<Clinic.Caller> = [.therapist, .admin]
    private static let report = #"{"status":"transcribing","progress":30}"#

    /// The rights of docs/http-api.md, "Routes".
    static let all: [SessionRoute] =
        [HTTPMethod.GET, .HEAD].flatMap { method in
            [
                SessionRoute(method: method, path: "", permitted: viewers),
                SessionRoute(method: method, path: "/status", permitted: viewers),
                SessionRoute(method: method, path: "/status/stream", permitted: viewers),
                SessionRoute(method: method, path: "/events", permitted: viewers),
                SessionRoute(method: method, path: "/transcript", permitted: viewers),
                SessionRoute(method: method, path: "/notes", permitted: managers),
                SessionRoute(method: method, path: "/history", permitted: managers),
                SessionRoute(method: method, path: "/failure", permitted: [.admin]),
                SessionRoute(method: method, path: "/recording", permitted: viewers),
            ]
        } + [
            SessionRoute(method: .DELETE, path: "", permitted: managers),
            SessionRoute(method: .PATCH, path: "", permitted: managers, body: #"{"language":"de"}"#),
            SessionRoute(
                method: .PATCH, path: "/transcript", permitted: managers,
                body: #"{"segments":[{"index":0,"text":"a"}]}"#),
            SessionRoute(method: .POST, path: "/retry", permitted: managers),
            SessionRoute(method: .POST, path: "/cancel", permitted: managers),
            SessionRoute(method: .POST, path: "/progress", permitted: [.pipeline, .admin], body: report),
        ]
}
