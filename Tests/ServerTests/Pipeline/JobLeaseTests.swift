import Domain
import Logging
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

@testable import App
@testable import Pipeline
@testable import Recordings

/// The lease of a job, without its worker.
@Suite(.deadline) struct JobLeaseTests {
    @Test("The end of the lease by the job's own last statement is no loss")
    func ending() async throws {
        try await withLease { lease, claim, tools, database in
            let value = try await lease.kept {
                try await lease.ending {
                    try await Self.endLease(claim, tools, database)
                    return 7
                }
            }
            #expect(value == 7)
        }
    }

    @Test("The end of the lease before the last statement is a loss")
    func lost() async throws {
        try await withLease { lease, claim, tools, database in
            await #expect(throws: JobLease.Loss.self) {
                try await lease.kept {
                    try await Self.endLease(claim, tools, database)
                    try await Task.sleep(for: .seconds(3_600))
                }
            }
        }
    }

    /// Ends the lease, and gives the job time to look at it.
    private static func endLease(_ claim: ClaimedSession, _ tools: PipelineTools, _ database: TestDatabase) async throws
    {
        try await database.query("UPDATE app.session_leases SET lease_hash = sha256('another')")
        for _ in 0..<50 {
            tools.hints.wake([claim.session])
            _ = try await tools.stores.queue.hasLease(claim)
        }
    }

    private func withLease(
        _ body: (JobLease, ClaimedSession, PipelineTools, TestDatabase) async throws -> Void
    ) async throws {
        try await withDatabase { database in
            try await database.queueSessions()
            let pool = try PostgresPool(configuration: PostgresConfiguration(connectionString: database.url()))
            do {
                let stores = Stores(pool: pool)
                let claim = try #require(try await stores.queue.claim(worker: "test", lease: PipelineWorker.lease))
                let command = try StageCommand("true", setting: "PIPELINE_TEST_COMMAND", title: "transcription")
                let tools = PipelineTools(
                    stores: stores, recordings: RecordingStore(directory: "/nowhere"),
                    stages: PipelineStages(
                        measure: command, transcribe: command, notes: nil, program: "/nowhere",
                        limits: PipelineLimits(), workDirectory: "/nowhere"),
                    metrics: MetricsOutput.registry(), logger: LogMemory().logger)
                try await body(JobLease(claim: claim, tools: tools), claim, tools, database)
            } catch {
                await pool.close()
                throw error
            }
            await pool.close()
        }
    }
}
