/// What is wrong with a connection string, in words that hold no piece of it but known names.
///
/// libpq's own messages quote the string, and with it perhaps a piece of the password: in `postgresql://u:p/w@host/db`
/// libpq takes `u` for the host and `p` for the port.
enum ConnectionStringFault {
    /// Names the fault of a string that libpq reads differently from what its author means, or cannot read.
    ///
    /// - Parameters:
    ///   - text: The connection string.
    ///   - isReadable: True if libpq can read it.
    /// - Returns: The fault with its remedy, or nil if the string is good.
    static func find(in text: String, isReadable: Bool) -> String? {
        if text.utf8.contains(0) { return "contains a NUL" }
        if let scheme = text.firstMatch(of: #/^([A-Za-z][A-Za-z0-9+.:_-]*):\/\//#).map({ String($0.1) }) {
            return fault(ofURI: text, scheme: scheme, isReadable: isReadable)
        }
        if isReadable { return nil }
        if let name = foreignName(in: text, pattern: #/(?:^|\s)([A-Za-z_]+)\s*=/#) { return foreign(name) }
        guard text.contains("=") else {
            return "has to be \(forms)"
        }
        return
            "cannot be read by libpq: put a value with spaces into single quotes, write ' in it as \\', and use only "
            + "parameters of libpq"
    }

    private static let forms =
        "a libpq connection string: postgresql://USER:PASSWORD@HOST:PORT/DATABASE or host=… dbname=…"

    private static func fault(ofURI text: String, scheme: String, isReadable: Bool) -> String? {
        guard ["postgresql", "postgres"].contains(scheme) else {
            // The words before :// cannot be a piece of a password only if they name a driver.
            let isDriver = scheme.contains(#/^(postgres|postgresql|jdbc|psql|pg|pgsql)([+:].*)?$/#)
            return isDriver
                ? "is in the form of another program's driver: write postgresql:// in place of \(scheme)://"
                : "has to be \(forms)"
        }
        let rest = text.dropFirst(scheme.count + 3)
        // libpq takes what is before the first "@" for the user and the password, unless a "/" comes first.
        let stop = rest.firstIndex { $0 == "@" || $0 == "/" }
        let places = stop.flatMap { rest[$0] == "@" ? rest[rest.index(after: $0)...] : nil } ?? rest
        let parts = places.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        if parts.first?.contains("@") == true {
            return "has a password or user with @ or / as it is: write %40 for @, %2F for /"
        }
        if isReadable { return nil }
        if parts.count > 1, let name = foreignName(in: parts[1], pattern: #/(?:^|&)([A-Za-z_]+)=/#) {
            return foreign(name)
        }
        if rest.contains(#/%(?![0-9A-Fa-f]{2})/#) {
            return "has a % that starts no code of two hexadecimal digits: write %25 for a % of the password"
        }
        return "cannot be read by libpq: write \(forms), the characters of a password percent-encoded"
    }

    /// Parameters that other programs put into their connection strings, and what stands for them here.
    private static let foreignNames: [String: String] = [
        "schema": "the schema is always app", "currentschema": "the schema is always app",
        "search_path": "the schema is always app",
        "pgbouncer": "set DATABASE_POOLER=transaction", "prepared_statements": "set DATABASE_POOLER=transaction",
        "statement_cache_size": "set DATABASE_POOLER=transaction",
        "preparethreshold": "set DATABASE_POOLER=transaction",
        "prepared_statement_cache_size": "set DATABASE_POOLER=transaction",
        "connection_limit": "set DATABASE_POOL_SIZE", "pool_size": "set DATABASE_POOL_SIZE",
        "max_connections": "set DATABASE_POOL_SIZE", "pool_timeout": "leave it out",
        "ssl": "write sslmode=require", "sslaccept": "write sslmode=require or sslmode=verify-full",
        "ssl_mode": "write sslmode", "tls": "write sslmode=require", "sslfactory": "write sslmode and sslrootcert",
        "uselibpqcompat": "leave it out", "socket_timeout": "leave it out", "charset": "leave it out",
        "encoding": "leave it out", "serverversion": "leave it out", "reconnect": "leave it out",
        "async_fallback": "leave it out", "username": "write user", "database": "write dbname", "server": "write host",
        "pwd": "write password", "uid": "write user",
    ]

    private static func foreignName(
        in text: some StringProtocol, pattern: Regex<(Substring, Substring)>
    ) -> String? {
        String(text).matches(of: pattern).map { String($0.1).lowercased() }.first { foreignNames[$0] != nil }
    }

    private static func foreign(_ name: String) -> String {
        "has the parameter \(name) of another program, which libpq does not know: \(foreignNames[name] ?? "leave it out")"
    }
}
