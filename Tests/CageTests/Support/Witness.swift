import Cage
import Foundation
import TestSupport

/// A process of a Unix user, with a word in its environment.
struct Witness {
    let number: Int32
    private let process: Process

    init(_ account: CageAccount) async throws {
        process = Process()
        let sleep = ["/bin/sleep", "600"]
        let words =
            geteuid() == 0
            ? ["/usr/bin/setpriv", "--reuid=\(account.user)", "--regid=\(account.group)", "--clear-groups"] + sleep
            : sleep
        process.executableURL = URL(filePath: words[0])
        process.arguments = Array(words.dropFirst())
        process.environment = ["DATABASE_URL": "the witness's secret"]
        try process.run()
        number = process.processIdentifier
        let path = "/proc/\(number)/comm"
        // setpriv becomes sleep.
        try await eventually("the start of the witness") {
            FileManager.default.contents(atPath: path) == Data("sleep\n".utf8)
        }
    }

    var isAlive: Bool { process.isRunning && !stateIsStopped }

    /// The limits, the priority and the processors of the process, as text.
    var settings: String {
        func text(_ name: String) -> String {
            String(decoding: FileManager.default.contents(atPath: "/proc/\(number)/\(name)") ?? Data(), as: UTF8.self)
        }
        let processors = text("status").split(separator: "\n").filter { $0.hasPrefix("Cpus_allowed:") }
        // The 18th and 19th field: priority and niceness. The second one, the name in parentheses, may have blanks.
        let priorities = (text("stat").split(separator: ")").last ?? "").split(separator: " ").dropFirst(15).prefix(2)
        return text("limits") + (processors + priorities).joined(separator: "\n")
    }

    private var stateIsStopped: Bool {
        let status = FileManager.default.contents(atPath: "/proc/\(number)/status") ?? Data()
        return String(decoding: status, as: UTF8.self).contains("State:\tT")
    }

    func end() {
        kill(number, SIGCONT)
        kill(number, SIGKILL)
        process.waitUntilExit()
    }
}
