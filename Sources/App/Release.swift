import Migrations

/// Which program this is.
public enum Release {
    /// Its version, as semver.org has it.
    public static let version = "1.0.0"

    /// The number of the newest step that it carries, as the name of the step's file begins.
    static let schema = Migration.carried.last { !$0.isCode }.map { String($0.filename.prefix { $0 != "_" }) } ?? "none"
}
