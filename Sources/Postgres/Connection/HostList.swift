import Glibc

/// One address at which the server may be.
struct HostCandidate: Equatable {
    /// The name that certificates and `.pgpass` are checked against, or a socket's directory.
    var host: String
    /// The numeric address, which saves libpq from looking up a name; nil for a socket's directory.
    var address: String?
    /// The port; nil for the default.
    var port: String?
}

/// The hosts of a connection string, separated by commas (manual, 34.1.1.3).
enum HostList {
    /// Pairs hosts, addresses and ports.
    ///
    /// - Parameter settings: The settings of a connection, defaults included.
    /// - Returns: The hosts in order. Those with a name have no address yet.
    /// - Throws: `PostgresError` with code `configuration` if the lists do not match.
    static func candidates(_ settings: [String: String]) throws -> [HostCandidate] {
        let hosts = list(settings["host"])
        let addresses = list(settings["hostaddr"])
        let ports = list(settings["port"])
        let count = max(hosts.count, addresses.count)
        guard count > 0 else { return [HostCandidate(host: "", address: nil, port: ports.first)] }
        guard hosts.isEmpty || addresses.isEmpty || hosts.count == addresses.count else {
            throw PostgresError(.configuration, "host and hostaddr name a different number of hosts")
        }
        guard ports.count <= 1 || ports.count == count else {
            throw PostgresError(.configuration, "port names a different number of ports than there are hosts")
        }
        return (0..<count).map { index in
            let host = hosts.isEmpty ? "" : hosts[index]
            let address = addresses.isEmpty ? "" : addresses[index]
            let port = ports.count > 1 ? ports[index] : ports.first
            let known = !address.isEmpty ? address : isNumeric(host) ? host : nil
            return HostCandidate(host: host, address: known, port: port?.isEmpty == false ? port : nil)
        }
    }

    /// Whether a candidate's name must be looked up.
    static func needsLookUp(_ candidate: HostCandidate) -> Bool {
        candidate.address == nil && !candidate.host.isEmpty && !isSocketDirectory(candidate.host)
    }

    /// Whether a host is a directory, which needs no address.
    ///
    /// "If a host name looks like an absolute path name, it specifies Unix-domain communication rather than TCP/IP
    /// communication … If the host name starts with @, it is taken as a Unix-domain socket in the abstract namespace"
    /// (manual, 34.1.2, `host`).
    private static func isSocketDirectory(_ host: String) -> Bool { host.hasPrefix("/") || host.hasPrefix("@") }

    private static func list(_ text: String?) -> [String] {
        guard let text, !text.isEmpty else { return [] }
        return text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }

    private static func isNumeric(_ host: String) -> Bool {
        var buffer = in6_addr()
        return unsafe inet_pton(AF_INET, host, &buffer) == 1 || inet_pton(AF_INET6, host, &buffer) == 1
    }
}

/// Looks a name up.
///
/// This call blocks.
///
/// - Parameter host: The name.
/// - Returns: Numeric addresses, in the system's order of preference.
/// - Throws: `PostgresError` with the resolver's reason.
func lookUp(_ host: String) throws -> [String] {
    var hints = unsafe addrinfo()
    unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let status = unsafe getaddrinfo(host, nil, &hints, &list)
    guard status == 0 else {
        throw PostgresError(.connection, "cannot look up host \(host): \(unsafe String(cString: gai_strerror(status)))")
    }
    defer { unsafe freeaddrinfo(list) }
    var addresses: [String] = []
    var entry = unsafe list
    while let current = unsafe entry {
        var buffer = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        let status = unsafe getnameinfo(
            current.pointee.ai_addr, current.pointee.ai_addrlen, &buffer, socklen_t(buffer.count), nil, 0,
            NI_NUMERICHOST)
        if status == 0 {
            let address = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if !addresses.contains(address) { addresses.append(address) }
        }
        unsafe entry = current.pointee.ai_next
    }
    return addresses
}
