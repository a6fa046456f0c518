import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import Synchronization
import TestSupport
import TestTime
import Testing

@testable import App

/// Anyone may ask whether the server is ready, as often as they like.
@Suite("The cost of readiness", .deadline) struct ReadinessCostTests {
    @Test("An answer counts for its lifetime, and callers at once share one question")
    func shared() async throws {
        let clock = ManualClock()
        let questions = Mutex(0)
        let gate = AsyncStream.makeStream(of: Void.self)
        let answer = RecentAnswer<Int>(lifetime: .seconds(1), clock: clock) {
            let count = questions.withLock { count in
                count += 1
                return count
            }
            // The first answer takes long.
            if count == 1 { for await _ in gate.stream { break } }
            return count
        }
        try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<100 { group.addTask { await answer.value() } }
            try await eventually("the question has begun") { questions.withLock { $0 } == 1 }
            gate.continuation.yield()
            for try await value in group { #expect(value == 1) }
        }
        clock.advance(by: .milliseconds(999))
        #expect(await answer.value() == 1)
        clock.advance(by: .milliseconds(1))
        #expect(await answer.value() == 2)
        #expect(await answer.value() == 2)
    }

    /// A rolled-back statement keeps what it has taken from a sequence: each look at the audit log takes a number.
    @Test("500 questions of strangers within a second cost one look at the database")
    func strangers() async throws {
        let clock = ManualClock()
        try await withServer(clock: clock) { server in
            try await server.database.withConnection { connection in
                try await connection.executeScript(
                    """
                    CREATE SEQUENCE public.looks MINVALUE 0 START 0;
                    SELECT nextval('public.looks');
                    CREATE FUNCTION public.count_look() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
                        PERFORM nextval('public.looks'); RETURN NULL; END $$;
                    CREATE TRIGGER count_look BEFORE INSERT ON app.audit_log
                        FOR EACH STATEMENT EXECUTE FUNCTION public.count_look();
                    """)
            }
            @Sendable func looks() async throws -> Int64 {
                try await server.database.query("SELECT last_value FROM public.looks")[0].decode(0, as: Int64.self)
            }
            for wanted in 1...3 {
                try await withThrowingTaskGroup(of: Int.self) { group in
                    for _ in 0..<10 {
                        group.addTask {
                            for _ in 0..<49 { _ = try await server.request(.GET, "/health/ready") }
                            return Int(try await server.request(.GET, "/health/ready").status)
                        }
                    }
                    for try await status in group { #expect(status == 200) }
                }
                #expect(try await looks() == Int64(wanted))
                clock.advance(by: .seconds(1))
            }
        }
    }
}
