import CLibPQ

/// A notice of the server: a warning, or what `RAISE NOTICE` said.
public struct PostgresNotice: Hashable, Sendable {
    /// `NOTICE`, `WARNING`, `INFO`, …; also `FATAL` when the server ends an idle session.
    public let severity: String
    /// The code.
    public let sqlState: SQLState?
    /// The message, which may hold values.
    public let message: String
}

/// A notification that `NOTIFY` sent.
public struct PostgresNotification: Hashable, Sendable {
    /// The channel.
    public let channel: String
    /// The payload, empty when none was given; any role of the database can send any.
    public let payload: String
    /// The server process that sent it.
    public let processID: Int32

    /// Makes a notification, for tests of what consumes them.
    public init(channel: String, payload: String, processID: Int32 = 0) {
        self.channel = channel
        self.payload = payload
        self.processID = processID
    }
}

/// Where the notices of one connection go instead of standard error.
///
/// Used on the poller's thread alone: libpq calls back only within calls that are made there.
final class NoticeBox {
    private(set) var notices: [PostgresNotice] = []
    private static let limit = 64

    /// Keeps the newest.
    func receive(_ result: OpaquePointer) {
        func field(_ code: CInt) -> String? {
            unsafe PQresultErrorField(result, code).map { unsafe String(cString: $0) }
        }
        if notices.count == Self.limit { notices.removeFirst() }
        notices.append(
            PostgresNotice(
                severity: field(clibpq_diag_severity) ?? "",
                sqlState: field(clibpq_diag_sqlstate).map { SQLState($0) },
                message: field(clibpq_diag_message) ?? ""))
    }

    func removeAll() { notices = [] }

    /// The error with which the server ended the session, which libpq reports as a notice when no query is under way.
    var fatal: PostgresNotice? { notices.last { $0.severity == "FATAL" || $0.severity == "PANIC" } }
}
