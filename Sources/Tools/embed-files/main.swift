import Foundation
import Gzip

// Writes a Swift file with the contents of other files as base64: embed-files [--compressed] OUTPUT FILE...
//
// The compiler reads base64 in a string literal at once. An array literal of bytes would take it minutes. With
// --compressed, each script, style and page also comes as NAME.gz and NAME.br, for browsers.

var arguments = CommandLine.arguments.dropFirst()
let isCompressed = arguments.first == "--compressed"
if isCompressed { arguments = arguments.dropFirst() }
guard let output = arguments.first else {
    FileHandle.standardError.write(Data("usage: embed-files [--compressed] OUTPUT FILE...\n".utf8))
    exit(64)
}

var source = """
    import Foundation

    /// The files that this target carries, by name. Written by the EmbedFiles plugin.
    enum EmbeddedFiles {
        static let all: [String: Data] = [

    """
let brotli = isCompressed ? Brotli() : nil
for path in arguments.dropFirst() {
    let file = URL(filePath: path)
    let contents = try Data(contentsOf: file)
    var forms = [(file.lastPathComponent, contents)]
    if isCompressed, ["js", "css", "svg", "html"].contains(file.pathExtension) {
        if let gzip = Gzip.compress([UInt8](contents)) { forms.append(("\(file.lastPathComponent).gz", Data(gzip))) }
        if let brotli = brotli?.compress(contents) { forms.append(("\(file.lastPathComponent).br", brotli)) }
    }
    for (name, form) in forms where name == file.lastPathComponent || form.count < contents.count {
        source += "        \"\(name)\": decode(\"\(form.base64EncodedString())\"),\n"
    }
}
if arguments.count == 1 { source += "        :\n" }
source += """
        ]

        private static func decode(_ base64: String) -> Data {
            guard let data = Data(base64Encoded: base64) else { preconditionFailure("embedded file is not base64") }
            return data
        }
    }

    """
try Data(source.utf8).write(to: URL(filePath: output), options: .atomic)
