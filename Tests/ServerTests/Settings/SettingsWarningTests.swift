import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// Settings that work and are not safe: the server starts and says so.
@Suite(.deadline) struct SettingsWarningTests {
    private static let plain = "browsers reach this server by plain http"
    private static let guessable = "the key of the access tokens is easy to guess"

    private func warnings(_ environment: [String: String]) async throws -> [String] {
        let log = LogMemory()
        try await withServer(environment, log: log) { server in
            let answer = try await server.request(.GET, "/health")
            #expect(answer.status == 200)
        }
        return log.warnings
    }

    @Test(
        "Plain http that leaves the machine is warned of",
        arguments: [
            ["PUBLIC_URL": "http://bridge.example.org"], ["HOST": "0.0.0.0"],
            ["HOST": "0.0.0.0", "PUBLIC_URL": "http://localhost:8000"],
        ])
    func plainHTTP(environment: [String: String]) async throws {
        let lines = try await warnings(environment).filter { $0.contains(Self.plain) }
        #expect(lines.count == 1)
        #expect(lines.first?.contains("PUBLIC_URL") == true)
    }

    @Test(
        "Loopback and https are not warned of",
        arguments: [
            [:], ["PUBLIC_URL": "http://localhost:8000"], ["PUBLIC_URL": "https://bridge.example.org"],
            ["HOST": "0.0.0.0", "PUBLIC_URL": "https://bridge.example.org"],
        ])
    func quiet(environment: [String: String]) async throws {
        #expect(try await warnings(environment).filter { $0.contains(Self.plain) || $0.contains(Self.guessable) } == [])
    }

    @Test("A key that is easy to guess is warned of, and the warning does not show it")
    func trivialKey() async throws {
        let secret = "changeme-changeme-changeme-changeme"
        let lines = try await warnings(["JWT_SECRET": secret]).filter { $0.contains(Self.guessable) }
        #expect(lines.count == 1)
        #expect(lines.first?.contains("openssl rand") == true)
        #expect(lines.first?.contains("changeme") == false)
    }
}
