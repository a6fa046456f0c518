import FoundationEssentials
import SettingsReading
import TextForms

/// The files with secrets, which no stage may see.
public struct StageFiles: Sendable {
    /// Files and folders with secrets, whether they exist or not.
    var secrets: [String]

    /// Settings that name files with secrets.
    private static let single = ["JWT_SECRET_FILE", "UPLOAD_KEY_FILE", "PGPASSFILE", "PGSERVICEFILE", "PGSSLKEY"]
    /// Settings that name several files, separated by commas.
    private static let lists = ["UPLOAD_PREVIOUS_KEY_FILES"]
    /// Where libpq looks when no setting names a file: the PostgreSQL manual, "The Password File" and "SSL Support".
    private static let ofHome = [".pgpass", ".pg_service.conf", ".postgresql"]

    /// Finds the files in the settings.
    init(_ reader: SettingsReader) {
        secrets = Self.single.compactMap(reader.variable)
        for name in Self.lists {
            secrets += (reader.variable(name) ?? "").split(separator: ",").map(\.trimmed)
        }
        for name in ["DATABASE_URL", "DATABASE_LISTEN_URL", "DATABASE_MIGRATE_URL"] {
            secrets += Self.files(in: reader.variable(name) ?? "")
        }
        let home = reader.variable("HOME") ?? URL.homeDirectory.path
        secrets += Self.ofHome.map { "\(home)/\($0)" }
    }

    /// The files that a connection string names, in a URL or as `name=value`.
    private static func files(in text: String) -> [String] {
        text.matches(of: /(?:passfile|sslkey|servicefile)\s*=\s*(?:'([^']*)'|([^&\s]+))/).compactMap { match in
            (match.output.1 ?? match.output.2).map { $0.percentDecoded ?? String($0) }
        }
    }
}
