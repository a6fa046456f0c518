import Foundation

// Writes a Swift file with the contents of other files as base64: embed-files OUTPUT FILE...
//
// The compiler reads base64 in a string literal at once. An array literal of bytes would take it minutes.

let arguments = CommandLine.arguments.dropFirst()
guard let output = arguments.first else {
    FileHandle.standardError.write(Data("usage: embed-files OUTPUT FILE...\n".utf8))
    exit(64)
}

var source = """
    import Foundation

    /// The files that this target carries, by name. Written by the EmbedFiles plugin.
    enum EmbeddedFiles {
        static let all: [String: Data] = [

    """
for path in arguments.dropFirst() {
    let file = URL(filePath: path)
    let contents = try Data(contentsOf: file).base64EncodedString()
    source += "        \"\(file.lastPathComponent)\": decode(\"\(contents)\"),\n"
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
