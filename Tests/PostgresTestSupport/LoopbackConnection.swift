public import LocalPostgres

extension LocalPostgres {
    /// A libpq connection string for TCP on loopback, as the superuser.
    ///
    /// The cluster was started with `listensOnLoopback`.
    ///
    /// - Parameter password: Another password than the superuser's.
    /// - Returns: The connection string, which has the password in it.
    public func loopbackConnectionString(password: String? = nil) -> String {
        "host=127.0.0.1 port=\(port) dbname=postgres user=postgres password='\(password ?? superuserPassword)'"
    }
}
