import Brotli
import Foundation
import Gzip
import RenderDocs

// Writes a Swift file with the contents of other files as base64:
//
//   embed-files [--compressed] [--mappings] [--docs TEMPLATE] OUTPUT FILE...
//
// The compiler reads base64 in a string literal at once. An array literal of bytes would take it minutes. With
// --compressed, each script, style and page also comes as NAME.gz and NAME.br, for browsers. With --mappings, the
// compatibility mappings of Unicode come as compatibility.txt. With --docs, the page of openapi.json comes as docs.html.

var arguments = CommandLine.arguments.dropFirst()
let isCompressed = takes("--compressed")
let hasMappings = takes("--mappings")
let template = takes("--docs") ? arguments.popFirst() : nil
guard let output = arguments.popFirst() else {
    FileHandle.standardError.write(
        Data("usage: embed-files [--compressed] [--mappings] [--docs TEMPLATE] OUTPUT FILE...\n".utf8))
    exit(64)
}

var files = try arguments.map { path in
    (name: URL(filePath: path).lastPathComponent, contents: try Data(contentsOf: URL(filePath: path)))
}
if hasMappings { files.append((name: "compatibility.txt", contents: Data(CompatibilityMappings.text.utf8))) }
if let template, let description = files.first(where: { $0.name == "openapi.json" }) {
    let template = try String(contentsOf: URL(filePath: template), encoding: .utf8)
    let page = try DocsPage.html(of: description.contents, template: template)
    files.append((name: "docs.html", contents: Data(page.utf8)))
}

var source = """
    import FoundationEssentials

    /// The files that this target carries, by name. Written by the EmbedFiles plugin.
    enum EmbeddedFiles {
        static let all: [String: Data] = [

    """
let brotli = isCompressed ? Brotli() : nil
for (name, contents) in files {
    var forms = [(name, contents)]
    if isCompressed, ["js", "css", "svg", "html"].contains(URL(filePath: name).pathExtension) {
        if let gzip = Gzip.compress([UInt8](contents)) { forms.append(("\(name).gz", Data(gzip))) }
        if let brotli = brotli?.compress(contents) { forms.append(("\(name).br", brotli)) }
    }
    for (form, bytes) in forms where form == name || bytes.count < contents.count {
        source += "        \"\(form)\": decode(\"\(bytes.base64EncodedString())\"),\n"
    }
}
if files.isEmpty { source += "        :\n" }
source += """
        ]

        private static func decode(_ base64: String) -> Data {
            guard let data = Data(base64Encoded: base64) else { preconditionFailure("embedded file is not base64") }
            return data
        }
    }

    """
try Data(source.utf8).write(to: URL(filePath: output), options: .atomic)

/// Takes an option off the arguments.
@MainActor func takes(_ option: String) -> Bool {
    guard arguments.first == option else { return false }
    arguments.removeFirst()
    return true
}
