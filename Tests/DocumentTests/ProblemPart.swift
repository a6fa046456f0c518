import HTTPTypes
import TestSupport

@testable import HTTPAPI

/// The problem types.
///
/// The server declares names and statuses, and this file has the words for a reader.
enum ProblemPart {
    static func text() -> String {
        let kinds = Problem.Kind.allCases.sorted { $0.status.code < $1.status.code }
        return table(
            ["type", "status", "when"],
            kinds.map { ["`\(Problem($0, "").type)`", "\($0.status.code)", occasion(of: $0)] })
    }

    private static func occasion(of kind: Problem.Kind) -> String {
        switch kind {
        case .malformed: "the JSON, the multipart body, a header or the HTTP version cannot be read"
        case .unauthorized:
            "no token, or a bad, expired or foreign one; the sign-in has ended; `WWW-Authenticate: Bearer`"
        case .inactive: "the account is inactive; a login says so only after the right password"
        case .forbidden: "the caller has no right to do this"
        case .originForbidden: "a request with a cookie came from another site's page"
        case .notFound: "no such route or session, or nothing there yet"
        case .methodNotAllowed: "`Allow` has the right methods"
        case .notAcceptable: "`Accept` cannot be met"
        case .tooSlow: "the request came too slowly; see [limits](configuration.md#limits)"
        case .conflict: "not possible in the present state: a forbidden report or retry, a taken id or address"
        case .gone: "the [resumable upload](uploads.md) has ended"
        case .preconditionFailed:
            "`If-Match` of a [correction](#corrections) names another state; `Tus-Resumable` of a [resumable upload](uploads.md) is not 1.0.0"
        case .preconditionRequired: "a [correction](#corrections) without `If-Match`"
        case .tooLarge: "the body is too large"
        case .unsupportedMedia: "not an accepted recording, or not the expected type"
        case .noSuchRange: "the range is outside the recording; `Content-Range` has its size"
        case .invalid: "an id that is not a UUID, a number out of range, a wrong type, a missing field"
        case .locked: "another request writes the [resumable upload](uploads.md); come back after `Retry-After`"
        case .upgradeRequired: "this route is for [WebSocket](websocket.md) clients"
        case .tooManyRequests: "a limit is reached; come back after `Retry-After`"
        case .checksumMismatch: "the bytes do not match `Upload-Checksum`; the server keeps none of them"
        case .internalError: "a fault of the server; the log has it under `request_id`"
        case .storageFull: "no room for the recording"
        case .storageUnavailable:
            "the folder of recordings is [missing, read-only or fails](operations.md#the-folder-of-recordings-is-away); come back after `Retry-After`"
        case .unavailable:
            "the database cannot answer in time, or a newer release has written the data; come back after `Retry-After`"
        }
    }
}
