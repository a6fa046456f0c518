/// The five characters with which PostgreSQL says what kind of error it was.
///
/// Source: Appendix A of the PostgreSQL manual, <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
public struct SQLState: Hashable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
    /// The five characters.
    public let code: String

    /// Makes a state from its five characters.
    public init(_ code: String) { self.code = code }

    /// Makes a state from its five characters.
    public init(stringLiteral value: String) { self.init(value) }

    /// The five characters.
    public var description: String { code }

    /// The first two characters, which name the class.
    public var errorClass: String { String(code.prefix(2)) }

    /// The state of `NO DATA FOUND` of PL/pgSQL.
    public static let noDataFound: SQLState = "P0002"
    /// A number, date or text that the function does not accept.
    public static let invalidParameterValue: SQLState = "22023"
    /// A byte sequence that the encoding does not know, such as NUL.
    public static let characterNotInRepertoire: SQLState = "22021"
    /// A reference to a row that is not there.
    public static let foreignKeyViolation: SQLState = "23503"
    /// A key that is there already.
    public static let uniqueViolation: SQLState = "23505"
    /// A row that a CHECK forbids.
    public static let checkViolation: SQLState = "23514"
    /// A write in a read-only transaction.
    public static let readOnlyTransaction: SQLState = "25006"
    /// A statement in a transaction that has failed.
    public static let inFailedTransaction: SQLState = "25P02"
    /// An idle transaction that was ended.
    public static let idleInTransactionTimeout: SQLState = "25P03"
    /// A prepared statement that is not there.
    public static let invalidStatementName: SQLState = "26000"
    /// A role that may not sign in.
    public static let invalidAuthorization: SQLState = "28000"
    /// A wrong password.
    public static let invalidPassword: SQLState = "28P01"
    /// A database that is not there.
    public static let invalidCatalogName: SQLState = "3D000"
    /// A transaction that must be repeated.
    public static let serializationFailure: SQLState = "40001"
    /// A transaction that lost in a deadlock, and must be repeated.
    public static let deadlockDetected: SQLState = "40P01"
    /// A right that the role lacks.
    public static let insufficientPrivilege: SQLState = "42501"
    /// Text that is not SQL.
    public static let syntaxError: SQLState = "42601"
    /// A table that is not there.
    public static let undefinedTable: SQLState = "42P01"
    /// What the server cannot do; also a cached plan whose result type changed.
    public static let featureNotSupported: SQLState = "0A000"
    /// A lock that could not be had in `lock_timeout`, or at once with NOWAIT.
    public static let lockNotAvailable: SQLState = "55P03"
    /// A statement that was cancelled, or took longer than `statement_timeout`.
    public static let queryCanceled: SQLState = "57014"
    /// The server is shutting down, or an administrator ended the session.
    public static let adminShutdown: SQLState = "57P01"

    /// Whether the same may succeed a little later: the server is starting, stopping, out of something, or unreachable.
    ///
    /// Classes 08 (connection exception), 40 (transaction rollback: deadlock, serialization), 53 (insufficient resources) and
    /// 57 (operator intervention), a lock that was not to be had, and a primary that has become a standby.
    public var isTransient: Bool {
        switch errorClass {
        case "08", "40", "53", "57": true
        default: [.idleInTransactionTimeout, .lockNotAvailable, .readOnlyTransaction].contains(self)
        }
    }

    /// Whether trying to connect again cannot help until someone changes a setting.
    var isPermanentForConnecting: Bool {
        switch errorClass {
        case "28", "3D", "3F", "42": true
        default: false
        }
    }
}
