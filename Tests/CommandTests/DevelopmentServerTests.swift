import Foundation
import Glibc
import LocalPostgres
import Subprocess
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// The command `dev` as a process.
@Suite(.deadline) struct DevelopmentServerTests {
    /// What the watcher of the files has seen.
    private final class Sightings: Sendable {
        private struct State {
            var isOver = false
            var modes: [String: Set<mode_t>] = [:]
        }

        private let state = Mutex(State())

        var modes: [String: Set<mode_t>] { state.withLock { $0.modes } }

        /// Looks at the files again and again, on a thread of its own.
        func watch(_ paths: [String]) {
            Thread { [self] in
                while !state.withLock({ $0.isOver }) {
                    for path in paths {
                        var status = stat()
                        guard lstat(path, &status) == 0 else { continue }
                        state.withLock { _ = $0.modes[path, default: []].insert(status.st_mode & 0o7777) }
                    }
                }
            }.start()
        }

        func end() { state.withLock { $0.isOver = true } }
    }

    @Test("No other user can read a secret of `dev` at any moment of its first start, whatever its umask is")
    func secrets() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tb-dev-\(UUID().uuidString.prefix(8))")
            .path(percentEncoded: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let port = try freePort()
        let secrets = ["jwt-secret", "demo-password", "postgres/superuser.password"].map { "\(folder)/\($0)" }
        let sightings = Sightings()
        sightings.watch(secrets + [folder])
        defer { sightings.end() }
        let end = try await Subprocess.run(
            .path("/bin/sh"),
            arguments: ["-c", "umask 000; exec \"$0\" \"$@\"", builtProgram, "dev", "--directory", folder],
            environment: .custom(programEnvironment(["PORT": "\(port)", "LOG_LEVEL": "error"])), input: .none,
            output: .discarded, error: .discarded
        ) { execution in
            do {
                // The signal is that the server answers. It has made its secrets by then.
                let server = RunningServer(port: port, processID: execution.processIdentifier.value)
                try await eventually("the server is ready") {
                    (try? await server.get("/health/ready").status) == 200
                }
                server.terminate()
            } catch {
                // PostgreSQL ends with the program.
                try? execution.send(signal: .kill)
                throw error
            }
        }
        guard case .exited(0) = end.terminationStatus else {
            Issue.record("dev ended with \(end.terminationStatus)")
            return
        }
        for secret in secrets {
            #expect(sightings.modes[secret] == [0o600], "\(secret): \(sightings.modes[secret] ?? [])")
        }
        // The account of PostgreSQL has to pass through the folder, and nobody else may write to it.
        let modes = try #require(sightings.modes[folder])
        #expect(modes.allSatisfy { $0 & 0o022 == 0 })
    }
}
