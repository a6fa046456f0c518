import App
import ArgumentParser
import Cage
import FoundationEssentials
import Glibc
import SettingsReading

/// The program.
///
/// The files beside this one hold the subcommands.
@main
struct TherapyBridge: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "therapybridge",
        abstract: "Push live progress of therapy sessions from PostgreSQL to authorized clients.",
        discussion:
            "Settings are environment variables: DATABASE_URL, JWT_SECRET and others; see docs/configuration.md.",
        version: Release.version,
        subcommands: [
            Serve.self, Work.self, Dev.self, Migrate.self, UserCommand.self, Assign.self, Unassign.self, Token.self,
            Audit.self, Check.self, Failed.self, Retry.self, Storage.self, Transcribe.self, CageCommand.self,
            Measure.self,
        ])

    /// Runs a subcommand, and turns an error into an exit status.
    ///
    /// 0 done, 1 failed, 64 wrong usage, 78 wrong configuration (`sysexits.h`: EX_USAGE, EX_CONFIG).
    static func main() async {
        do {
            var command = try parseAsRoot(Array(ProgramArguments.all.dropFirst()))
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let error as SettingError {
            fail("\(error)", status: 78)
        } catch let error as CommandFailure {
            fail("\(error)", status: 1)
        } catch let code as ExitCode {
            Glibc.exit(code.rawValue)
        } catch  where exitCode(for: error) == .success || exitCode(for: error) == .validationFailure {
            exit(withError: error)
        } catch {
            fail("\(error)", status: 1)
        }
    }

    private static func fail(_ message: String, status: Int32) -> Never {
        LogOutput.writeLast("therapybridge: \(message)")
        Glibc.exit(status)
    }
}
