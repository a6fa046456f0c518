/// The five characters of PostgreSQL's error codes.
///
/// Source: Appendix A of the PostgreSQL manual, <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
public struct SQLState: Hashable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
    /// The five characters.
    public let code: String

    /// Makes a state from its five characters.
    ///
    /// - Parameter code: The five characters.
    public init(_ code: String) { self.code = code }

    /// Makes a state from its five characters.
    ///
    /// - Parameter value: The five characters.
    public init(stringLiteral value: String) { self.init(value) }

    /// The five characters.
    public var description: String { code }

    /// The first two characters, which name the class.
    public var errorClass: String { String(code.prefix(2)) }

    /// PL/pgSQL's `NO_DATA_FOUND`.
    public static let noDataFound: SQLState = "P0002"
    /// A number, date or text that a function does not accept.
    public static let invalidParameterValue: SQLState = "22023"
    /// A byte sequence that the encoding does not allow, such as NUL.
    public static let characterNotInRepertoire: SQLState = "22021"
    /// A key that exists already.
    public static let uniqueViolation: SQLState = "23505"
    /// A row that violates a CHECK.
    public static let checkViolation: SQLState = "23514"
    /// A write in a read-only transaction.
    public static let readOnlyTransaction: SQLState = "25006"
    /// The session was idle in a transaction for too long, and the server ended it.
    public static let idleInTransactionTimeout: SQLState = "25P03"
    /// A prepared statement that does not exist.
    public static let invalidStatementName: SQLState = "26000"
    /// A role that cannot sign in.
    public static let invalidAuthorization: SQLState = "28000"
    /// A serialization failure.
    ///
    /// The caller repeats the transaction.
    public static let serializationFailure: SQLState = "40001"
    /// A deadlock that this transaction lost.
    ///
    /// The caller repeats the transaction.
    public static let deadlockDetected: SQLState = "40P01"
    /// A right that the role lacks.
    public static let insufficientPrivilege: SQLState = "42501"
    /// A feature that the server lacks, or a cached plan whose result type changed.
    public static let featureNotSupported: SQLState = "0A000"
    /// A limit of PostgreSQL: a value that is too large to store, or the full queue of notifications.
    ///
    /// The two have this one code. ``PostgresError/isTransient`` tells them apart.
    public static let programLimitExceeded: SQLState = "54000"
    /// A lock that was not free within `lock_timeout`, or at once with NOWAIT.
    public static let lockNotAvailable: SQLState = "55P03"
    /// A prepared statement of this name exists.
    public static let duplicateStatementName: SQLState = "42P05"
    /// Our own: the id of a new session is that of a deleted one.
    public static let deletedSessionID: SQLState = "TB001"
    /// The server shuts down, or an administrator ended the session.
    public static let adminShutdown: SQLState = "57P01"

    /// Whether the same statement may succeed a little later.
    ///
    /// The classes are 08 (connection exception), 40 (transaction rollback: deadlock, serialization), 53 (insufficient
    /// resources) and 57 (operator intervention). A lock that was not free counts, and a primary that has become a
    /// standby.
    public var isTransient: Bool {
        switch errorClass {
        case "08", "40", "53", "57": true
        default:
            [.idleInTransactionTimeout, .lockNotAvailable, .readOnlyTransaction].contains(self)
        }
    }

    /// Whether messages with this code name only objects of the database and states of the server.
    ///
    /// The classes are 08 (connection), 25 (transaction state), 28 (authorization), 3D and 3F (names of databases and
    /// schemas), 40 (rollback), 53 (resources), 55 (prerequisite state), 57 (intervention) and 58 (system), and of class 42
    /// the codes about names and rights. A message of class 22 or 23 quotes values.
    var isFreeOfValues: Bool {
        switch errorClass {
        case "08", "25", "28", "3D", "3F", "40", "53", "55", "57", "58": true
        case "42": ["42501", "42P01", "42P05", "42P06", "42703", "42704", "42883", "42710"].contains(code)
        default: self == .invalidStatementName
        }
    }

    /// Whether another attempt to connect cannot succeed until a setting changes.
    var isPermanentForConnecting: Bool {
        switch errorClass {
        case "28", "3D", "3F", "42": true
        default: false
        }
    }
}
