import App
import ArgumentParser

struct Storage: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compare the recordings on disk with the database.", subcommands: [Check.self])

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List recordings without sessions, and sessions without recordings.",
            discussion: """
                Connects to DATABASE_MIGRATE_URL, and reads the folder of UPLOAD_DIR. Passes over files younger than \
                UPLOAD_RESUME_TTL. Exits with status 1 if there are any.
                """)

        func run() async throws {
            let lines = try await Operations(logger: startLogging()).checkStorage()
            for line in lines { print(line) }
            guard lines.isEmpty else { throw CommandFailure("the recordings and the database differ") }
        }
    }
}
