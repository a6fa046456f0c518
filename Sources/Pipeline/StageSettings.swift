public import Cage
import FoundationEssentials
public import SettingsReading
import TextForms

/// What a site's own stages may use, and whether the worker needs a cage.
public struct StageSettings: Sendable {
    private static let variablesName = "PIPELINE_STAGE_ENV"
    private static let writesName = "PIPELINE_STAGE_WRITES"
    /// The setting that decides whether the worker needs a cage.
    public static let cageName = "PIPELINE_CAGE"

    /// The address space of each process in bytes, or nil for no limit.
    let memory: Int?
    /// The variables of the server that a stage gets.
    let variables: SecretVariables
    private let variableNames: [String]
    /// The folders that a stage may write to, beside its own.
    let writes: [String]
    /// True if a stage may open sockets.
    let hasNetwork: Bool
    /// True if the worker does not start on a host that cannot keep a stage from other recordings.
    public let isCageRequired: Bool

    /// Reads the group.
    ///
    /// - Throws: ``SettingError`` for the first setting that is bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group("Pipeline")
        let bytes = try reader.integer(
            "PIPELINE_STAGE_MEMORY", in: 0...(1 << 50), default: 0,
            "The address space of each process of a site's own stage, in bytes; 0: no limit. A program that uses a graphics "
                + "processor reserves tens of gigabytes. The bundled transcriber, ffmpeg and ffprobe always have 1 GiB."
        )
        memory = bytes == 0 ? nil : bytes
        variableNames =
            try reader.value(
                Self.variablesName, form: "comma-separated names of environment variables",
                "The variables of the server that a site's own stage gets, such as `HF_HOME` or the key of a service. "
                    + "Settings of this page, `PG*`, `LD_*` and `TB_*` are refused."
            ) { text in Self.names(in: text) } ?? []
        writes =
            try reader.value(
                Self.writesName, form: "comma-separated folders",
                "The folders that a site's own stage may write to, beside its own. The work folder, `UPLOAD_DIR` and "
                    + "folders with a file of secrets are refused."
            ) { text in
                let folders = text.split(separator: ",", omittingEmptySubsequences: false)
                    .map { $0.trimmed }
                return folders.allSatisfy { !$0.isEmpty } ? folders : nil
            } ?? []
        hasNetwork = try reader.choice(
            "PIPELINE_STAGE_NETWORK", ["on": true, "off": false], default: "on",
            "`off`: a site's own stage reaches no network. The bundled transcriber, ffmpeg and ffprobe never do.")
        isCageRequired = try reader.choice(
            Self.cageName, ["auto": false, "required": true], default: "auto",
            "`required`: a worker does not start on a host that cannot keep a stage from other recordings; see "
                + "[operations](operations.md#what-stages-may-do).")
        variables = SecretVariables(
            Dictionary(
                variableNames.compactMap { name in reader.variable(name).map { (name, $0) } },
                uniquingKeysWith: { $1 }))
    }

    private static func names(in text: String) -> [String]? {
        let names = text.split(separator: ",", omittingEmptySubsequences: false)
            .map { $0.trimmed }
        return names.allSatisfy { $0.wholeMatch(of: /[A-Za-z_][A-Za-z0-9_]*/) != nil } ? names : nil
    }

    /// Refuses variables that would hand a secret to a stage, or change how it is loaded.
    ///
    /// - Parameter settings: The names of all settings.
    /// - Throws: ``SettingError`` for the first such variable.
    public func check(against settings: Set<String>) throws(SettingError) {
        for name in variableNames where settings.contains(name) || ["PG", "LD_", "TB_"].contains(where: name.hasPrefix)
        {
            throw SettingError(
                Self.variablesName,
                "may not name \(name): it belongs to the server or to the loader of programs; take it out of the list")
        }
    }

    /// Makes the cage of the stages.
    ///
    /// - Parameters:
    ///   - cage: The cage of this host.
    ///   - uploads: The folder of the recordings.
    ///   - workDirectory: The folder of the stages' own directories.
    ///   - secrets: Files with secrets.
    /// - Returns: The cage.
    /// - Throws: ``SettingError`` for a folder of `PIPELINE_STAGE_WRITES` that is missing, or would open what is hidden.
    public func stageCage(
        _ cage: Cage, uploads: String, workDirectory: String, secrets: [String]
    ) throws(SettingError) -> StageCage {
        var stageCage = StageCage()
        stageCage.cage = cage
        stageCage.hidden = [uploads, workDirectory] + secrets
        stageCage.memory = memory
        stageCage.variables = variables
        stageCage.hasNetwork = hasNetwork
        for folder in writes {
            let path = CageView.resolved(folder)
            var isFolder = false
            guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder else {
                throw SettingError(Self.writesName, "names a folder that is missing; make it first")
            }
            for (hidden, what) in [(uploads, "UPLOAD_DIR"), (workDirectory, "the work folder")] {
                // The folder may be mounted elsewhere, too.
                let places = CageView.places(of: [hidden])
                guard !places.contains(where: { CageView.lies(path, in: $0) || CageView.lies($0, in: path) }) else {
                    throw SettingError(
                        Self.writesName, "names a folder that is, holds or lies in \(what); name another one")
                }
            }
            guard !CageView.places(of: secrets).contains(where: { CageView.lies($0, in: path) }) else {
                throw SettingError(Self.writesName, "names a folder that holds a file of secrets; name another one")
            }
            stageCage.writable.append(path)
        }
        return stageCage
    }
}

extension PipelineStages {
    /// Finds the strongest cage of this host.
    ///
    /// - Returns: The cage, and what it keeps a stage from.
    /// - Throws: `SubprocessError` or an error of the file system when the trial cannot be made.
    public func findCage() async throws -> (cage: Cage, inspection: CageInspection) {
        let cage = Cage()
        return try await PrivateDirectory.with(purpose: "cage", in: workDirectory, owner: cage.account) { directory in
            try await CageInspection.strongest(from: cage, in: directory)
        }
    }
}
