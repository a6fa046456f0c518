import Domain
import TestSupport
import Testing
import Webhooks

/// The look-up of names by the system.
@Suite(.deadline) struct SystemResolverTests {
    @Test("localhost has loopback addresses, and many callers get the same answer")
    func localhost() async throws {
        let resolver = SystemResolver()
        let answers = try await withThrowingTaskGroup(of: [IPAddress].self) { group in
            for _ in 0..<20 { group.addTask { try await resolver.addresses(of: "localhost") } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(answers.count == 20)
        let loopback: Set<IPAddress?> = [IPAddress("127.0.0.1"), IPAddress("::1")]
        for answer in answers {
            #expect(!answer.isEmpty)
            #expect(answer.allSatisfy { loopback.contains($0) })
        }
    }

    @Test("The system takes a short form for an address, and the rules refuse that address")
    func shortForm() async throws {
        let found = try await SystemResolver().addresses(of: "127.1")
        #expect(found == [IPAddress("127.0.0.1")])
        #expect(found.allSatisfy { !WebhookRules(allowsPrivateTargets: false).permits($0) })
    }

    @Test("A name that no name server can know has no address")
    func unknown() async throws {
        #expect(try await SystemResolver().addresses(of: "a..invalid") == [])
    }

    @Test("A cancelled caller does not wait for the name server")
    func cancelled() async throws {
        let resolver = SystemResolver()
        let task = Task { try await resolver.addresses(of: "localhost") }
        task.cancel()
        // The answer may come first.
        _ = await task.result
    }
}
