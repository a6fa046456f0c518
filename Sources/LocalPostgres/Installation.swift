import FoundationEssentials
import Glibc

/// The server programs of a PostgreSQL installation.
struct Installation {
    /// The directory with `initdb`, `postgres` and `pg_isready`.
    let programs: String

    func path(of program: String) -> String { "\(programs)/\(program)" }

    /// Finds a server: in the directory that `POSTGRES_PROGRAMS` names, or else the newest one in Debian's versioned
    /// directories, or else the one beside `pg_config` in `PATH`.
    ///
    /// - Returns: The installation.
    /// - Throws: `LocalPostgresError` that names the package to install, or the programs that the directory lacks.
    static func find() throws -> Installation {
        if let chosen = ProcessInfo.processInfo.environment["POSTGRES_PROGRAMS"], !chosen.isEmpty {
            guard isServer(chosen) else {
                throw LocalPostgresError(
                    .notInstalled, "POSTGRES_PROGRAMS: \(chosen) lacks initdb, postgres or pg_isready")
            }
            return Installation(programs: chosen)
        }
        let root = "/usr/lib/postgresql"
        let versions = ((try? FileManager.default.contentsOfDirectory(atPath: root)) ?? [])
            .sorted { (Int($0) ?? 0) > (Int($1) ?? 0) }
        for version in versions where isServer("\(root)/\(version)/bin") {
            return Installation(programs: "\(root)/\(version)/bin")
        }
        for directory in (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":") {
            // The server's programs are in the directory of `pg_config`.
            guard let config = realPath("\(directory)/pg_config") else { continue }
            let programs = parent(of: config)
            if isServer(programs) { return Installation(programs: programs) }
        }
        throw LocalPostgresError(
            .notInstalled,
            "no PostgreSQL server found under /usr/lib/postgresql or beside pg_config in PATH;"
                + " on Debian: apt-get install postgresql"
        )
    }

    private static func isServer(_ directory: String) -> Bool {
        ["initdb", "postgres", "pg_isready"].allSatisfy {
            FileManager.default.isExecutableFile(atPath: "\(directory)/\($0)")
        }
    }
}

/// The path with all symbolic links resolved; nil if it does not exist.
func realPath(_ path: String) -> String? {
    guard let resolved = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(resolved) }
    return unsafe String(cString: resolved)
}
