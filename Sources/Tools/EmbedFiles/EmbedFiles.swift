import Foundation
import PackagePlugin

/// Carries a folder of files inside the binary: writes `EmbeddedFiles.swift` into the target that uses it, anew
/// whenever one of the files changes.
///
/// `.embedInCode` does not do: it takes single files, not a folder, and makes a Swift name of each file name, which a
/// leading digit does not survive.
@main
struct EmbedFiles: BuildToolPlugin {
    /// The folders whose files each target carries, from the package's root.
    private static let folders = [
        "Migrations": ["migrations", "migrations/code"],
        "HTTPAPI": ["Sources/HTTPAPI/Web/Assets"],
        "App": ["Sources/App/Demo"],
        "bench": ["Sources/Tools/bench/Peers"],
    ]

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
        let output = context.pluginWorkDirectoryURL.appending(path: "EmbeddedFiles.swift")
        return [
            .buildCommand(
                displayName: "Embedding \(folders.joined(separator: ", "))",
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
