import App
import ArgumentParser

struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Apply or show the migrations that this program carries.",
        discussion: """
            Works on DATABASE_MIGRATE_URL: a member of therapybridge_owner; the first "up" also needs CREATEROLE. The \
            same files may be run with psql, in order; "up" then knows that they ran.
            """,
        subcommands: [Up.self, Roles.self, Adopt.self, Status.self, Validate.self])

    struct ClusterOptions: ParsableArguments {
        @Flag(
            name: .customLong("shared-cluster"),
            help: "Accept another installation in the cluster: all its databases are one trust domain.")
        var isShared = false
    }

    struct Up: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Apply the missing migrations.")

        @Flag(name: .customLong("dry-run"), help: "Print the missing migrations, and apply nothing.")
        var dryRun = false
        @OptionGroup var cluster: ClusterOptions

        func run() async throws {
            let applied = try await Operations(logger: startLogging())
                .migrateUp(dryRun: dryRun, isClusterShared: cluster.isShared)
            for name in applied { print(name) }
        }
    }

    struct Roles: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make the roles alone, in a cluster into which a dump is about to be restored.",
            discussion: """
                Makes the caller a member of therapybridge_owner. Needs CREATEROLE. May be repeated.
                """)

        @OptionGroup var cluster: ClusterOptions

        func run() async throws {
            try await Operations(logger: startLogging()).migrateRoles(isClusterShared: cluster.isShared)
        }
    }

    struct Adopt: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "After a restore: make this cluster the one of the database.",
            discussion: """
                Ends every sign-in, also those of "token": some of them had ended since the backup was made. Drops the \
                positions of the old cluster. Check assignments and accounts afterwards: they are as in the backup. \
                May be repeated.
                """)

        func run() async throws {
            let ended = try await Operations(logger: startLogging()).migrateAdopt()
            print("ended \(ended) \(ended == 1 ? "sign-in" : "sign-ins")")
        }
    }

    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Print each migration and its state.")

        func run() async throws {
            for line in try await Operations(logger: startLogging()).migrationStatus() { print(line) }
        }
    }

    struct Validate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Exit with status 1 if a migration is missing or edited.")

        func run() async throws {
            try await Operations(logger: startLogging()).validateMigrations()
        }
    }
}
