import PostgresTestSupport
import Testing

@testable import Postgres

@Suite("The plan of a statement") struct StatementPlanTests {
    private let query = Request.query("SELECT \(1)")

    @Test("A new statement is prepared, remembered and executed")
    func newStatement() {
        var plan = StatementPlan()
        let first = plan.start(query, prepared: nil, cachesStatements: true, newName: "tb_1", evicted: nil)
        #expect(first == .prepare(name: "tb_1"))
        #expect(
            plan.stepDone(error: nil, isInTransaction: false) == .remember(name: "tb_1", then: .execute(name: "tb_1")))
        #expect(plan.stepDone(error: nil, isInTransaction: false) == .complete)
    }

    @Test("A known statement is executed at once")
    func knownStatement() {
        var plan = StatementPlan()
        let first = plan.start(query, prepared: "tb_1", cachesStatements: true, newName: "", evicted: nil)
        #expect(first == .execute(name: "tb_1"))
        #expect(plan.stepDone(error: .uniqueViolation, isInTransaction: false) == .complete)
    }

    @Test("Room is made first, and a failed transaction that refuses it does no harm")
    func room() {
        var plan = StatementPlan()
        let first = plan.start(query, prepared: nil, cachesStatements: true, newName: "tb_9", evicted: "tb_1")
        #expect(first == .simple("DEALLOCATE tb_1"))
        #expect(
            plan.stepDone(error: .inFailedTransaction, isInTransaction: true) == .send(.prepare(name: "tb_9")))
    }

    @Test("A statement that cannot be prepared ends with its error")
    func prepareFails() {
        var plan = StatementPlan()
        _ = plan.start(query, prepared: nil, cachesStatements: true, newName: "tb_1", evicted: nil)
        #expect(plan.stepDone(error: .undefinedTable, isInTransaction: false) == .complete)
    }

    @Test("A plan whose result type changed is prepared again, once")
    func changedResult() {
        var plan = StatementPlan()
        _ = plan.start(query, prepared: "tb_1", cachesStatements: true, newName: "", evicted: nil)
        #expect(
            plan.stepDone(error: .featureNotSupported, isInTransaction: false)
                == .forget(name: "tb_1", then: .simple("DEALLOCATE tb_1")))
        #expect(plan.stepDone(error: nil, isInTransaction: false) == .send(.prepare(name: "tb_1r")))
        #expect(
            plan.stepDone(error: nil, isInTransaction: false) == .remember(name: "tb_1r", then: .execute(name: "tb_1r"))
        )
        #expect(
            plan.stepDone(error: .featureNotSupported, isInTransaction: false) == .forget(name: "tb_1r", then: nil))
    }

    @Test("A statement that the server does not know is prepared again")
    func unknownStatement() {
        var plan = StatementPlan()
        _ = plan.start(query, prepared: "tb_1", cachesStatements: true, newName: "", evicted: nil)
        #expect(
            plan.stepDone(error: .invalidStatementName, isInTransaction: false)
                == .forget(name: "tb_1", then: .prepare(name: "tb_1r")))
    }

    @Test(
        "In a transaction nothing is repeated, but the statement is forgotten",
        arguments: [SQLState.featureNotSupported, .invalidStatementName])
    func inTransaction(error: SQLState) {
        var plan = StatementPlan()
        _ = plan.start(query, prepared: "tb_1", cachesStatements: true, newName: "", evicted: nil)
        #expect(plan.stepDone(error: error, isInTransaction: true) == .forget(name: "tb_1", then: nil))
    }

    @Test("Through a pooler nothing is prepared, and a script never is")
    func neverPrepared() {
        var plan = StatementPlan()
        #expect(plan.start(query, prepared: nil, cachesStatements: false, newName: "", evicted: nil) == .unnamed)
        #expect(plan.stepDone(error: .invalidStatementName, isInTransaction: false) == .complete)
        var script = StatementPlan()
        #expect(
            script.start(.script("SELECT 1"), prepared: nil, cachesStatements: true, newName: "", evicted: nil)
                == .simple("SELECT 1"))
        #expect(script.stepDone(error: nil, isInTransaction: false) == .complete)
    }

    @Test("The least recently used statement makes room")
    func eviction() {
        var cache = StatementCache(capacity: 2)
        let keys = (0..<3).map { StatementKey(sql: "SELECT \($0)", types: []) }
        cache.insert(cache.newName(), for: keys[0])
        #expect(cache.evict() == nil)
        cache.insert(cache.newName(), for: keys[1])
        #expect(cache.name(for: keys[0]) == "tb_1")
        #expect(cache.evict() == "tb_2")
        #expect(cache.name(for: keys[1]) == nil)
        #expect(cache.newName() == "tb_3", "a name is never used again")
    }
}
