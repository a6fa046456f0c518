import Foundation
import Postgres
import TestSupport
import Testing

@testable public import LocalPostgres

/// Runs a primary, and a hot standby that streams from it, and lends both.
///
/// - Parameters:
///   - prepare: Fills the primary before the standby is made.
///   - body: Uses both servers.
/// - Throws: The error of a server that does not start, of `prepare`, or of `body`.
public func withTestStandby(
    preparing prepare: (_ primary: LocalPostgres) async throws -> Void = { _ in },
    _ body: (_ primary: LocalPostgres, _ standby: LocalPostgres) async throws -> Void
) async throws {
    let primary = try await TestCluster.makeCluster()
    do {
        try await prepare(primary)
        let standby = try await startTestStandby(of: primary)
        do {
            // The standby can be reached, and it is a standby. Without that the tests would prove nothing.
            let inRecovery = try await TestDatabase(cluster: standby, name: "postgres")
                .query("SELECT pg_is_in_recovery()")[0].decode(0, as: Bool.self)
            try #require(inRecovery)
            try await body(primary, standby)
        } catch {
            try? await standby.stop(mode: .immediate)
            throw error
        }
        try await standby.stop(mode: .immediate)
    } catch {
        try? await primary.stop(mode: .immediate)
        throw error
    }
    try await primary.stop(mode: .immediate)
}

/// Makes a standby of a server as an operator does, and starts it.
private func startTestStandby(of primary: LocalPostgres) async throws -> LocalPostgres {
    let directory = TestCluster.newDirectory()
    let account = try ServerAccount.current()
    let layout = try ClusterLayout.make(directory: directory, account: account)
    try account.makePrivateDirectory(layout.data)
    // "-R: Creates a standby.signal file and appends connection settings to the postgresql.auto.conf file" (manual,
    // pg_basebackup). Like the server, it runs under the account that owns the data.
    let copy = try ChildProcess.start(
        account.prefix(toReach: layout.data) + [
            "\(primary.programDirectory)/pg_basebackup", "--pgdata", layout.data, "--write-recovery-conf",
            "--checkpoint", "fast", "--no-sync", "--host", primary.socketDirectory, "--port", "\(primary.port)",
            "--username", "postgres",
        ], environment: serverEnvironment(), outputPath: layout.logFile, holdsInput: false)
    let status = await copy.waitForExit(timeout: TestDeadline.event)
    try #require(status == 0, "pg_basebackup failed:\n\(layout.endOfLog())")
    // The password came with the copy. A cluster that this library made keeps it in this file.
    try Data((primary.superuserPassword + "\n").utf8).write(to: URL(fileURLWithPath: layout.passwordFile))
    // A standby must allow as many connections as its primary.
    return try await LocalPostgres.start(directory: directory, settings: TestCluster.settings, fsync: false)
}
