import Migrations

/// The version of this program.
public enum Release {
    /// The version of the program, by semver.org.
    public static let version = "1.0.0"

    /// The number of the newest step that the binary carries: the first word of the file's name.
    static let schema = Migration.carried.last { !$0.isCode }.map { String($0.filename.prefix { $0 != "_" }) } ?? "none"
}
