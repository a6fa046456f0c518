import HTTPAPI
import Logging
import Postgres

/// What a database knows about the cluster that it is in.
///
/// A dump that was restored into another cluster brings transaction numbers and sign-ins that mean nothing there. A process
/// forgets the numbers before it serves. The sign-ins do not count, until an operator ends them for good.
struct Installation: Sendable {
    /// False if the database was restored, and no operator has adopted it.
    private let isAdopted: Bool
    /// False if the logs have transaction numbers of another cluster.
    private let hasPositions: Bool

    /// How many transitions one statement takes: few enough for a fraction of a second.
    private static let step: Int32 = 10_000

    /// What the operator reads at the start, and in the details of readiness.
    private static let complaint =
        "restored from another cluster and not adopted; earlier sign-ins do not count; run: therapybridge migrate adopt"

    /// The longest wait for an answer while the process serves.
    static let patience = Duration.seconds(2)

    private init(isAdopted: Bool, hasPositions: Bool) {
        self.isAdopted = isAdopted
        self.hasPositions = hasPositions
    }

    /// Reads the state with a statement.
    ///
    /// - Parameter query: Sends the statement.
    /// - Returns: The state.
    /// - Throws: What `query` throws.
    static func read(_ query: (PostgresQuery) async throws -> PostgresRows) async throws -> Installation {
        let row = try await query("SELECT is_adopted, has_positions FROM app.read_installation()")[0]
        return Installation(
            isAdopted: try row.decode("is_adopted", as: Bool.self),
            hasPositions: try row.decode("has_positions", as: Bool.self))
    }

    /// Reads the state if the database answers now.
    ///
    /// - Parameter pool: The connections of the process.
    /// - Returns: The state.
    /// - Throws: ``PostgresError``, within ``patience`` for a connection and as long for the answer; at once if the database
    ///   refuses connections.
    static func readNow(_ pool: PostgresPool) async throws -> Installation {
        try await pool.withConnection(waitTimeout: patience, givesUpWhenRefused: true) { connection in
            try await read { try await connection.query($0, timeout: patience) }
        }
    }

    /// Forgets what another cluster left, and warns the operator.
    ///
    /// - Parameters:
    ///   - connection: A connection of the server's role or of a member of the owner's.
    ///   - logger: Takes the warning.
    /// - Throws: ``PostgresError``.
    static func settle(_ connection: PostgresConnection, logger: Logger) async throws {
        let found = try await read { try await connection.query($0) }
        if !found.hasPositions {
            try await forgetPositions(connection)
            logger.notice("the database was restored: positions of the old cluster are forgotten")
        }
        if !found.isAdopted { logger.warning("the database is \(complaint)") }
    }

    /// Forgets the transaction numbers of another cluster.
    ///
    /// - Parameter connection: A connection of the server's role or of a member of the owner's.
    /// - Throws: ``PostgresError``.
    static func forgetPositions(_ connection: PostgresConnection) async throws {
        while try await !connection.query("SELECT app.forget_positions(\(step))")[0].decode(0, as: Bool.self) {}
    }

    /// What the operator has to do, for the details of readiness.
    var details: [ReadinessDetail] {
        isAdopted ? [] : [ReadinessDetail(name: "cluster", isGood: false, text: Self.complaint)]
    }
}
