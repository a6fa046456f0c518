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
        "bench": ["Sources/Tools/bench/Peers"],
    ]

    func createBuildCommands(context: PluginContext, target: any Target) async throws -> [Command] {
        guard let folders = Self.folders[target.name] else {
            throw PluginError(description: "no folder is named for the target \(target.name)")
        }
        var files = try folders.flatMap { folder in
            try FileManager.default
                .contentsOfDirectory(
                    at: context.package.directoryURL.appending(path: folder),
                    includingPropertiesForKeys: [.isRegularFileKey]
                )
                .filter { try $0.resourceValues(forKeys: [.isRegularFileKey]).isRegularFile == true }
                .filter { !$0.lastPathComponent.hasPrefix(".") && $0.pathExtension != "swift" }
                .sorted { $0.lastPathComponent < $1.lastPathComponent }
        }
        var commands: [Command] = []
        if let description = files.first(where: { $0.lastPathComponent == "openapi.json" }) {
            let page = context.pluginWorkDirectoryURL.appending(path: "docs.html")
            commands.append(try rendering(description, into: page, context))
            files.append(page)
        }
        let output = context.pluginWorkDirectoryURL.appending(path: "EmbeddedFiles.swift")
        commands.append(
            .buildCommand(
                displayName: "Embedding \(folders.joined(separator: ", "))",
                executable: try context.tool(named: "embed-files").url,
                arguments: (target.name == "HTTPAPI" ? ["--compressed"] : []) + [output.path] + files.map(\.path),
                inputFiles: files,
                outputFiles: [output]))
        return commands
    }

    /// Renders the page `/docs` from the description of the API.
    private func rendering(_ description: URL, into page: URL, _ context: PluginContext) throws -> Command {
        let template = context.package.directoryURL.appending(path: "Sources/Tools/render-docs/docs.mustache")
        return .buildCommand(
            displayName: "Rendering \(page.lastPathComponent)",
            executable: try context.tool(named: "render-docs").url,
            arguments: [description.path, template.path, page.path],
            inputFiles: [description, template],
            outputFiles: [page])
    }
}

struct PluginError: Error, CustomStringConvertible {
    let description: String
}
