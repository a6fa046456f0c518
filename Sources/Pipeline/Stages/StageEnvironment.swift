import FoundationEssentials
import Subprocess

/// The environment of a stage's command.
///
/// The list names what is passed on. A secret such as `DATABASE_URL` or `JWT_SECRET` therefore never reaches a stage.
enum StageEnvironment {
    /// The variables of the server that a stage gets, and those that the bundled transcriber hands on to its programs.
    static let inherited = ["PATH", "HOME", "LANG", "MALLOC_ARENA_MAX"]

    /// Makes the environment for one run.
    ///
    /// - Parameters:
    ///   - extra: More variables. They win over the inherited ones.
    ///   - temporaryDirectory: The directory of this run, which is removed after it.
    ///   - own: The environment of the server.
    /// - Returns: The variables by their names.
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
    /// The environment of a program that the server runs, without the server's secrets; see ``StageEnvironment``.
    static func scrubbed(
        adding extra: [String: String] = [:],
        temporaryDirectory: String = FileManager.default.temporaryDirectory.path
    ) -> Environment {
        let variables = StageEnvironment.scrubbed(adding: extra, temporaryDirectory: temporaryDirectory)
        return .custom(
            Dictionary(uniqueKeysWithValues: variables.map { (Environment.Key(stringLiteral: $0.key), $0.value) }))
    }
}
