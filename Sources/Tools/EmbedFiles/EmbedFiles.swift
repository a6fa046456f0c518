import Foundation
import PackagePlugin

/// Carries a folder of files inside the binary: writes `EmbeddedFiles.swift` into the target that uses it, anew
/// whenever one of the files changes.
///
/// `.embedInCode` does not do: it takes single files, not a folder, and makes a Swift name of each file name, which a
/// leading digit does not survive.
@main
struct EmbedFiles: BuildToolPlugin {
    /// The folder that each target carries, from the package's root.
    private static let folders = [
        "Migrations": "migrations",
        "HTTPAPI": "Sources/HTTPAPI/Web/Assets",
        "App": "Sources/App/Demo",
        "bench": "Sources/Tools/bench/Peers",
    ]

    func createBuildCommands(context: PluginContext, target: any Target) async throws -> [Command] {
        guard let folder = Self.folders[target.name] else {
            throw PluginError(description: "no folder is named for the target \(target.name)")
        }
        let folderURL = context.package.directoryURL.appending(path: folder)
        let files = try FileManager.default
            .contentsOfDirectory(at: folderURL, includingPropertiesForKeys: nil)
            .filter { !$0.lastPathComponent.hasPrefix(".") && $0.pathExtension != "swift" }
            .sorted { $0.lastPathComponent < $1.lastPathComponent }
        let output = context.pluginWorkDirectoryURL.appending(path: "EmbeddedFiles.swift")
        return [
            .buildCommand(
                displayName: "Embedding \(folder)",
                executable: try context.tool(named: "embed-files").url,
                arguments: [output.path] + files.map(\.path),
                inputFiles: files,
                outputFiles: [output])
        ]
    }
}

struct PluginError: Error, CustomStringConvertible {
    let description: String
}
