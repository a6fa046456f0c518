import Foundation
import PackagePlugin

/// Embeds the files of a folder in the binary.
///
/// Writes `EmbeddedFiles.swift` for a target, again whenever one of the files changes. `.embedInCode` cannot do this:
/// it takes single files, and makes a Swift name of each file name, which a leading digit breaks.
@main
struct EmbedFiles: BuildToolPlugin {
    /// The folders of each target's files, relative to the root of the package.
    private static let folders = [
        "Migrations": ["migrations", "migrations/code"],
        "HTTPAPI": ["Sources/HTTPAPI/Web/Assets"],
        "App": ["Sources/App/Demo"],
        // The tool makes the mappings of Unicode itself.
        "TextForms": [],
        "bench": ["Sources/Tools/bench/Peers"],
    ]

    private static let options = ["HTTPAPI": ["--compressed"], "TextForms": ["--mappings"]]

    func createBuildCommands(context: PluginContext, target: any Target) async throws -> [Command] {
        guard let folders = Self.folders[target.name] else {
            throw PluginError(description: "no folder is named for the target \(target.name)")
        }
        let files = try folders.flatMap { folder in
            try FileManager.default
                .contentsOfDirectory(
                    at: context.package.directoryURL.appending(path: folder),
                    includingPropertiesForKeys: [.isRegularFileKey]
                )
                .filter { try $0.resourceValues(forKeys: [.isRegularFileKey]).isRegularFile == true }
                .filter { !$0.lastPathComponent.hasPrefix(".") && $0.pathExtension != "swift" }
                .sorted { $0.lastPathComponent < $1.lastPathComponent }
        }
        var inputs = files
        var options = Self.options[target.name, default: []]
        // The page is no output of its own: SwiftPM would make it a resource, whose accessor imports Foundation.
        if target.name == "HTTPAPI" {
            let template = context.package.directoryURL.appending(path: "Sources/Tools/RenderDocs/docs.mustache")
            options += ["--docs", template.path]
            inputs.append(template)
        }
        let output = context.pluginWorkDirectoryURL.appending(path: "EmbeddedFiles.swift")
        return [
            .buildCommand(
                displayName: "Embedding files in \(target.name)",
                executable: try context.tool(named: "embed-files").url,
                arguments: options + [output.path] + files.map(\.path),
                inputFiles: inputs,
                outputFiles: [output])
        ]
    }
}

struct PluginError: Error, CustomStringConvertible {
    let description: String
}
