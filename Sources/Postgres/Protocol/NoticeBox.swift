import CLibPQ

/// A notice of the server, such as a warning or the message of `RAISE NOTICE`.
public struct PostgresNotice: Hashable, Sendable {
    /// `NOTICE`, `WARNING`, `INFO`, …; `FATAL` if the server ends an idle session.
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
    /// The payload; empty if there was none.
    ///
    /// Any role of the database can send any payload.
    public let payload: String
    /// The server process that sent it.
    public let processID: Int32

    /// Makes a notification, for tests of its consumers.
    ///
    /// - Parameters:
    ///   - channel: The channel.
    ///   - payload: The payload.
    ///   - processID: The server process that sent it.
    public init(channel: String, payload: String, processID: Int32 = 0) {
        self.channel = channel
        self.payload = payload
        self.processID = processID
    }
}

/// The notices of one connection, which libpq would write to standard error.
///
/// Only the poller's thread uses it, because libpq calls back only within calls on that thread.
final class NoticeBox {
    private(set) var notices: [PostgresNotice] = []
    private static let limit = 64

    /// Keeps a notice, and drops the oldest if there are too many.
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

    /// The error with which the server ended the session; nil if it did not.
    ///
    /// libpq reports it as a notice if no query is under way.
    var fatal: PostgresNotice? { notices.last { $0.severity == "FATAL" || $0.severity == "PANIC" } }
}
