import FoundationEssentials
import TextForms

/// The files in which `service=NAME` finds the settings of a connection (PostgreSQL manual, "The Connection Service File").
///
/// libpq would read them itself. This library has to know the hosts and ports before libpq does, because it looks names up
/// without blocking.
struct ServiceFile {
    /// The files in the order of libpq, which takes the first one that has the service.
    let paths: [String]

    /// The files that libpq would read.
    ///
    /// "By default, the per-user service file is named ~/.pg_service.conf. … The file name can be overridden by setting the
    /// environment variable PGSERVICEFILE. The system-wide file is named pg_service.conf. By default it is sought in the
    /// etc directory of the PostgreSQL installation … or … the directory given by the environment variable PGSYSCONFDIR."
    static func standard(_ environment: [String: String] = ProcessInfo.processInfo.environment) -> ServiceFile {
        let own = environment["PGSERVICEFILE"] ?? (environment["HOME"] ?? URL.homeDirectory.path) + "/.pg_service.conf"
        // Debian's libpq has its system-wide folder here.
        let folders = environment["PGSYSCONFDIR"].map { [$0] } ?? ["/etc/postgresql-common", "/etc"]
        return ServiceFile(paths: [own] + folders.map { $0 + "/pg_service.conf" })
    }

    /// The settings of a service.
    ///
    /// - Parameter name: The name of the service.
    /// - Returns: The settings by their names.
    /// - Throws: `PostgresError` with code `configuration` if no file has the service.
    func settings(of name: String) throws -> [String: String] {
        for path in paths {
            guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { continue }
            if let settings = Self.settings(of: name, in: text) { return settings }
        }
        throw PostgresError(
            .configuration, "names a service that is not in \(paths.joined(separator: " or "))")
    }

    /// Reads the section of a service: lines `name=value` after the line `[service]`.
    ///
    /// "If the same service name is defined more than once, the first one is used", and so does libpq within a section.
    static func settings(of name: String, in text: String) -> [String: String]? {
        var settings: [String: String]?
        for line in text.split(whereSeparator: \.isNewline).map({ $0.trimmed }) {
            if line.hasPrefix("#") { continue }
            if line.hasPrefix("[") {
                if settings != nil { return settings }
                if line == "[\(name)]" { settings = [:] }
                continue
            }
            guard settings != nil, let equals = line.firstIndex(of: "=") else { continue }
            let key = String(line[..<equals])
            if settings?[key] == nil { settings?[key] = String(line[line.index(after: equals)...]) }
        }
        return settings
    }
}
