/// What happens to an upload, after its first bytes have arrived.
enum UploadStep: Sendable {
    /// PostgreSQL crashes.
    case databaseStops
    case databaseStarts
    /// The client sends the rest of the recording.
    case rest
    /// The server has all bytes, and a receipt of them on its disk.
    case kept
    /// The server gets SIGTERM.
    case serverStops
    /// The server gets SIGKILL.
    case serverDies
    /// The client closes its connection before the answer.
    case clientGoes
}

/// The two ways to upload a recording.
enum UploadWay: String, CaseIterable, Sendable {
    case form
    case resumable
}

/// A state in which the server or the database ends during an upload, and what a client and an operator can rely on.
struct UploadState: Sendable {
    /// For the documentation.
    var event: String
    var steps: [UploadStep]
    /// The status of the answer, or "none".
    var answer: String
    /// The status of the session once a server and the database are there again, and nobody has repeated anything.
    var session: String
    /// The answer to a repeated form; for a resumable upload "complete", or the answer to the rest.
    var next: String

    static func all(_ way: UploadWay) -> [UploadState] {
        // The answer that ends an upload, the repeat of a complete one, and the repeat of a broken one.
        let (done, again, anew) = way == .form ? ("201", "200", "201") : ("204", "complete", "204")
        let inTime = UploadState(
            event: "the server gets SIGTERM, and the rest arrives in time", steps: [.serverStops, .rest], answer: done,
            session: "pending", next: again)
        return (way == .form ? [inTime] : []) + [
            UploadState(
                event: "the server gets SIGTERM, and the rest does not arrive in time", steps: [.serverStops],
                answer: "503", session: way == .form ? "failed" : "uploading", next: anew),
            UploadState(
                event: "the server is killed", steps: [.serverDies], answer: "none", session: "uploading", next: anew),
            UploadState(
                event: "PostgreSQL restarts before the last byte", steps: [.databaseStops, .databaseStarts, .rest],
                answer: done, session: "pending", next: again),
            UploadState(
                event: "PostgreSQL is away at the last byte, and comes back soon",
                steps: [.databaseStops, .rest, .kept, .databaseStarts], answer: done, session: "pending", next: again),
            UploadState(
                event: "PostgreSQL is away at the last byte, for longer", steps: [.databaseStops, .rest], answer: "503",
                session: "pending", next: again),
            UploadState(
                event: "PostgreSQL is away at the last byte, and the client goes",
                steps: [.databaseStops, .rest, .kept, .clientGoes], answer: "none", session: "pending", next: again),
            UploadState(
                event: "PostgreSQL is away at the last byte, and the server gets SIGTERM",
                steps: [.databaseStops, .rest, .kept, .serverStops], answer: "503", session: "pending", next: again),
            UploadState(
                event: "PostgreSQL is away at the last byte, and the server is killed",
                steps: [.databaseStops, .rest, .kept, .serverDies], answer: "none", session: "pending", next: again),
            UploadState(
                event: "PostgreSQL is away, the server gets SIGTERM, and the rest does not arrive in time",
                steps: [.databaseStops, .serverStops], answer: "503", session: "uploading", next: anew),
        ]
    }

    /// The cells of the state's row in the documentation.
    func row(of way: UploadWay) -> [String] {
        let after =
            switch session {
            case "pending": "`pending`: the recording is entered"
            case "failed": "`failed`: the bytes are removed"
            default:
                way == .form
                    ? "`uploading`, until the repeat or for 22 minutes" : "`uploading`: what was committed is kept"
            }
        let client =
            switch (way, next) {
            case (.form, "200"): "a repeat gets 200 and the same session"
            case (.form, _): "a repeat gets \(next)"
            case (.resumable, "complete"): "`HEAD` says that all bytes are there"
            case (.resumable, _): "the rest gets \(next)"
            }
        return [event, answer, after, client]
    }
}
