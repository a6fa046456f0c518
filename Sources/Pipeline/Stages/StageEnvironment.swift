import Foundation
import Subprocess

/// The environment that a stage's command gets.
///
/// A list of what is passed, not of what is withheld: `DATABASE_URL`, `JWT_SECRET` and whatever secret comes next are not on it.
enum StageEnvironment {
    /// What is passed on from the server's own environment.
    static let inherited = ["PATH", "HOME", "LANG"]

    /// Makes the environment for one run.
    ///
    /// - Parameters:
    ///   - extra: more variables; they win over the inherited ones.
    ///   - temporaryDirectory: the run's own directory, which is removed after it.
    ///   - own: the server's environment.
    static func scrubbed(
        adding extra: [String: String],
        temporaryDirectory: String,
        from own: [String: String] = ProcessInfo.processInfo.environment
    ) -> [Environment.Key: String] {
        var variables = own.filter { inherited.contains($0.key) }
        variables["TMPDIR"] = temporaryDirectory
        variables.merge(extra) { _, new in new }
        var result: [Environment.Key: String] = [:]
        for (name, value) in variables {
            if let key = Environment.Key(rawValue: name) { result[key] = value }
        }
        return result
    }
}
