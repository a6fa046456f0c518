import Migrations

/// Which program this is.
public enum Release {
    /// Its version, as semver.org has it.
    public static let version = "1.0.0"

    /// The number of the newest migration that it carries, as its file name begins.
    static let schema = Migration.carried.last.map { String($0.filename.prefix { $0 != "_" }) } ?? "none"
}
