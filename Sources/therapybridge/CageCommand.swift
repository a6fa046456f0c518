import App
import ArgumentParser

struct CageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cage", abstract: "Try the cage around stages on this host, and list its layers.",
        discussion: """
            Each line has, separated by tabs: the layer, active or missing, and the mechanisms of the kernel that it rests on, \
            or why it is missing. Exits with status 1 when PIPELINE_CAGE=required would not start a worker.
            """)

    func run() async throws {
        let (lines, startsWorker) = try await CageOverview.lines()
        for line in lines { print(line) }
        if !startsWorker { throw ExitCode(1) }
    }
}
