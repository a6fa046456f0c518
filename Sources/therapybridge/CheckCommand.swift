import App
import ArgumentParser
import FoundationEssentials

struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure how fast a server shows a change, with a session of no patient.",
        discussion: """
            Needs no settings. Takes half a minute, and prints the times from the commit of a change to its event on a stream. \
            Nobody else sees the session, and it is removed at the end.
            """)

    @Option(help: "The server, as in https://bridge.example.org.")
    var url: String
    @Option(
        help: ArgumentHelp(
            "An administrator's access token, as \"therapybridge token\" prints it; \"-\" reads it from standard input.",
            valueName: "token"))
    var token: String
    @Option(
        name: .customLong("p99-ms"), help: ArgumentHelp("Exit with status 1 over this p99.", valueName: "milliseconds"))
    var limit = 100.0

    func validate() throws {
        guard let parts = URL(string: url), ["http", "https"].contains(parts.scheme), parts.host()?.isEmpty == false
        else {
            throw ValidationError("--url has to be an address as in https://bridge.example.org.")
        }
        guard !token.isEmpty else { throw ValidationError("--token is empty.") }
        guard limit > 0, limit.isFinite else { throw ValidationError("--p99-ms has to be a number above 0.") }
    }

    func run() async throws {
        let secret = token == "-" ? readLine() ?? "" : token
        let summary = try await LatencyCheck(url: url, token: secret).run()
        print(summary)
        let slowest = summary.percentile(0.99)
        guard slowest <= .milliseconds(limit) else {
            throw CommandFailure("a p99 of \(milliseconds(slowest)) ms is over --p99-ms")
        }
    }
}
