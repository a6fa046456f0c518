import App
public import ArgumentParser
public import Domain

extension Role: ExpressibleByArgument {}

struct UserCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "user", abstract: "Add, list and change accounts. Connects to DATABASE_MIGRATE_URL.",
        subcommands: [Add.self, List.self, Deactivate.self, Activate.self, SetPassword.self])

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Add an account and print its id.")

        @Option(help: "The address to sign in with.")
        var email: String
        @Option(help: "The person's name.")
        var name: String
        @Option(help: "The role: therapist, patient, admin or pipeline.")
        var role: Role
        @Flag(name: .customLong("password-stdin"), help: "Read the password from the first line of standard input.")
        var passwordStdin = false

        func run() async throws {
            let password = passwordStdin ? try readPassword() : nil
            print(
                try await Operations(logger: startLogging())
                    .addUser(email: email, name: name, role: role, password: password))
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print all accounts: id, role, state, address and name, separated by tabs.")

        func run() async throws {
            for line in try await Operations(logger: startLogging()).listUsers() { print(line) }
        }
    }

    struct Deactivate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Deactivate an account. Its sign-ins and streams end at once.")

        @Option(help: "The account's address.")
        var email: String

        func run() async throws {
            try await Operations(logger: startLogging()).setActive(false, email: email)
        }
    }

    struct Activate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Activate an account again.")

        @Option(help: "The account's address.")
        var email: String

        func run() async throws {
            try await Operations(logger: startLogging()).setActive(true, email: email)
        }
    }

    struct SetPassword: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "set-password",
            abstract: "Set a password, read from the first line of standard input, and end the account's sign-ins.")

        @Option(help: "The account's address.")
        var email: String

        func run() async throws {
            try await Operations(logger: startLogging()).setPassword(try readPassword(), email: email)
        }
    }
}

/// The therapist and the patient of an assignment.
struct Tie: ParsableArguments {
    @Option(help: "The therapist's address.")
    var therapist: String
    @Option(help: "The patient's address.")
    var patient: String
}

struct Assign: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Assign a therapist to a patient, whose sessions the therapist may then see.")

    @OptionGroup var tie: Tie

    func run() async throws {
        try await Operations(logger: startLogging()).assign(therapist: tie.therapist, patient: tie.patient)
    }
}

struct Unassign: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "End an assignment. The therapist's streams of the patient end at once.")

    @OptionGroup var tie: Tie

    func run() async throws {
        try await Operations(logger: startLogging()).unassign(therapist: tie.therapist, patient: tie.patient)
    }
}

struct Token: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print a valid access token of an account.",
        discussion: "Needs the server's JWT_SECRET or JWT_SECRET_FILE, and DATABASE_MIGRATE_URL.")

    @Option(help: "The account's address.")
    var email: String
    @Option(help: "The lifetime of the token in seconds. Default: JWT_ACCESS_TTL.")
    var ttl: Int?

    func validate() throws {
        if let ttl, !(1...31_536_000).contains(ttl) { throw ValidationError("--ttl has to be from 1 to 31536000.") }
    }

    func run() async throws {
        print(try await Operations(logger: startLogging()).token(email: email, lifetime: ttl.map { .seconds($0) }))
    }
}

/// Reads the first line of standard input.
private func readPassword() throws -> String {
    guard let line = readLine(strippingNewline: true), !line.isEmpty else {
        throw CommandFailure("no password on standard input")
    }
    return line
}
