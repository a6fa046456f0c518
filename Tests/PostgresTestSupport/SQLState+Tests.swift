public import Postgres

/// The states that only tests name.
extension SQLState {
    /// A reference to a row that does not exist.
    public static let foreignKeyViolation: SQLState = "23503"
    /// A statement in a transaction that has failed.
    public static let inFailedTransaction: SQLState = "25P02"
    /// A wrong password.
    public static let invalidPassword: SQLState = "28P01"
    /// A database that does not exist.
    public static let invalidCatalogName: SQLState = "3D000"
    /// Text that is not SQL.
    public static let syntaxError: SQLState = "42601"
    /// A table that does not exist.
    public static let undefinedTable: SQLState = "42P01"
    /// A statement that was cancelled, or that took longer than `statement_timeout`.
    public static let queryCanceled: SQLState = "57014"
}
