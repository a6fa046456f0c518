import App
import ArgumentParser

struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Apply or show the migrations that this program carries.",
        discussion: """
            Works on DATABASE_MIGRATE_URL: a member of therapybridge_owner; the first "up" also needs CREATEROLE. The \
            same files may be run with psql, in order; "up" then knows that they ran.
            """,
        subcommands: [Up.self, Status.self, Validate.self])

    struct Up: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Apply what is missing.")

        @Flag(name: .customLong("dry-run"), help: "Only print what would be applied.")
        var dryRun = false

        func run() async throws {
            let applied = try await Operations(logger: startLogging()).migrateUp(dryRun: dryRun)
            for name in applied { print(name) }
        }
    }

    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Print each migration and how it stands.")

        func run() async throws {
            for line in try await Operations(logger: startLogging()).migrationStatus() { print(line) }
        }
    }

    struct Validate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Exit 1 if anything is missing or edited.")

        func run() async throws {
            try await Operations(logger: startLogging()).validateMigrations()
        }
    }
}
