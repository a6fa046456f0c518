import Foundation
import TestSupport

/// A folder of one test, for the scripts of stages and their files.
struct ScriptFolder: Sendable {
    let url: URL

    /// Lends a folder, and removes it.
    ///
    /// A server's stages may write to the folder if `PIPELINE_STAGE_WRITES` names it. The stages of root run as another
    /// user.
    static func with<Result>(_ body: (ScriptFolder) async throws -> Result) async throws -> Result {
        try await withTemporaryFolder("scripts") { outer in
            let url = outer.appending(path: "scripts")
            try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false)
            for (path, mode) in [(outer, 0o755), (url, 0o777)] {
                try FileManager.default.setAttributes(
                    [.posixPermissions: mode], ofItemAtPath: path.path(percentEncoded: false))
            }
            return try await body(ScriptFolder(url: url))
        }
    }

    /// A folder for recordings beside this one.
    ///
    /// No stage may write to the folder of the recordings.
    var uploads: String { url.deletingLastPathComponent().appending(path: "uploads").path(percentEncoded: false) }

    var path: String { url.path(percentEncoded: false) }

    /// Writes a script.
    ///
    /// In it, `$folder` is this folder and `$1` is the recording.
    ///
    /// - Returns: The command that runs it, for a setting.
    func command(_ name: String, _ script: String) throws -> String {
        // A stage's output may quote the session, so its texts become canaries.
        for words in script.matches(of: /echo '([^{'][^']*)'/) { CanaryWatch.shared.plant(String(words.1)) }
        for words in script.matches(of: /"(?:text|message)": ?"([^"]*)"/) { CanaryWatch.shared.plant(String(words.1)) }
        let file = url.appending(path: name)
        try Data("folder='\(path)'\n\(script)\n".utf8).write(to: file)
        return "/bin/sh '\(file.path(percentEncoded: false))'"
    }

    /// Makes an empty file, which a script waits for.
    func touch(_ name: String) throws { try Data().write(to: url.appending(path: name)) }

    func remove(_ name: String) throws { try FileManager.default.removeItem(at: url.appending(path: name)) }

    func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path + "/" + name) }

    /// Waits for a file that a script makes.
    func wait(for name: String) async throws { try await eventually("the file \(name) of a script") { exists(name) } }

    /// The processes that run a script of this folder.
    ///
    /// A stage does not know its number on the host: it has process numbers of its own.
    var processes: [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.filter { name in
            guard Int(name) != nil, let words = FileManager.default.contents(atPath: "/proc/\(name)/cmdline") else {
                return false
            }
            return words.range(of: Data(path.utf8)) != nil
        }
    }

    func text(of name: String) throws -> String { try String(contentsOf: url.appending(path: name), encoding: .utf8) }
}

/// Scripts that several tests use.
enum Script {
    /// The transcript of every recording.
    static let transcript = #"{"text":"good morning","segments":[{"start":0,"end":1.5,"text":"good morning"}]}"#

    /// Prints progress and the transcript.
    static let transcribes = """
        echo '{"progress": 25, "message": "A quarter"}'
        echo '{"progress": 75, "message": "Three quarters"}'
        echo '{"result": \(transcript)}'
        """

    /// Prints progress, makes the file `begun`, waits for the file `go`, and prints the transcript.
    static let waits = """
        echo '{"progress": 50, "message": "Half"}'
        touch "$folder/begun"
        while [ ! -e "$folder/go" ]; do sleep 0.05; done
        echo '{"result": \(transcript)}'
        """

    /// Reports progress without an end in the first run, and prints the transcript in every later run.
    ///
    /// The first run makes the file `begun`.
    static func runsOnAtFirst() -> String {
        """
        if mkdir "$folder/first" 2>/dev/null; then
            touch "$folder/begun"
            n=0
            while true; do n=$((n + 1)); echo "{\\"progress\\": 50, \\"message\\": \\"$n\\"}"; sleep 0.1; done
        fi
        echo '{"result": \(transcript)}'
        """
    }
}
