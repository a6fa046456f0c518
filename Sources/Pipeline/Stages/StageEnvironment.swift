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
    /// - Returns: the variables by their names.
    static func scrubbed(
        adding extra: [String: String],
        temporaryDirectory: String,
        from own: [String: String] = ProcessInfo.processInfo.environment
    ) -> [String: String] {
        var variables = own.filter { inherited.contains($0.key) }
        variables["TMPDIR"] = temporaryDirectory
        variables.merge(extra) { _, new in new }
        return variables
    }
}

extension Environment {
    /// The environment of a program that is run in the server, without the server's own; see ``StageEnvironment``.
    static func scrubbed(
        adding extra: [String: String] = [:],
        temporaryDirectory: String = FileManager.default.temporaryDirectory.path
    ) -> Environment {
        let variables = StageEnvironment.scrubbed(adding: extra, temporaryDirectory: temporaryDirectory)
        return .custom(
            Dictionary(uniqueKeysWithValues: variables.map { (Environment.Key(stringLiteral: $0.key), $0.value) }))
    }
}
