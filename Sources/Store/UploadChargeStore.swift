public import Domain
public import FoundationEssentials
public import Postgres

/// The upload limits of one user; 0 is no limit.
public struct UploadLimits: Sendable {
    /// The number of concurrent uploads (`UPLOAD_MAX_CONCURRENT_PER_USER`).
    public var atOnce: Int
    /// The number of uploads in an hour (`UPLOADS_PER_HOUR`).
    public var perHour: Int
    /// The number of bytes in 24 hours (`UPLOAD_QUOTA_BYTES`).
    public var bytesPerDay: Int

    /// The limits of one user; 0 is no limit.
    public init(atOnce: Int, perHour: Int, bytesPerDay: Int) {
        self.atOnce = atOnce
        self.perHour = perHour
        self.bytesPerDay = bytesPerDay
    }
}

/// An upload would exceed a limit.
public struct UploadRefusal: Error, Sendable, Equatable {
    /// The limits, by their names in the database.
    public enum Limit: String, Sendable, CaseIterable {
        /// Concurrent uploads.
        case atOnce = "at-once"
        /// Uploads in an hour.
        case perHour = "per-hour"
        /// Bytes in 24 hours.
        case bytesPerDay = "bytes-per-day"
    }

    /// The limit that the upload would exceed.
    public var limit: Limit
    /// The time until there is room; a guess for ``Limit/atOnce``.
    public var wait: Duration
}

/// The uploads of the last day, of all servers: `app.upload_charges`.
public struct UploadChargeStore: Sendable {
    /// How long an upload counts as under way after its server last extended it.
    public static let lease = Duration.seconds(120)

    private let pool: PostgresPool

    /// A store that borrows its connections from a pool.
    public init(pool: PostgresPool) { self.pool = pool }

    /// Charges an upload before it begins.
    ///
    /// - Parameters:
    ///   - id: The id of this upload.
    ///   - user: The user who uploads.
    ///   - bytes: The greatest size that the upload may have.
    ///   - limits: The limits of the user.
    /// - Throws: ``UploadRefusal`` if a limit is reached; then nothing is charged. ``PostgresError`` if the database
    ///   does not answer; then the upload may have been charged.
    public func charge(_ id: UUID, of user: UserID, bytes: Int64, limits: UploadLimits) async throws {
        try await charge(id, of: user, bytes: bytes, limits: limits, lease: Self.lease)
    }

    /// Charges the beginning of a resumable upload: it counts in the hour, and no request is under way.
    ///
    /// - Throws: As ``charge(_:of:bytes:limits:)``. The quota must have room for the whole upload.
    public func chargeCreation(_ id: UUID, of user: UserID, bytes: Int64, limits: UploadLimits) async throws {
        let limits = UploadLimits(atOnce: 0, perHour: limits.perHour, bytesPerDay: limits.bytesPerDay)
        try await charge(id, of: user, bytes: bytes, limits: limits, lease: nil)
        try await add(0, to: id)
    }

    /// Charges one request of a resumable upload before its first byte.
    ///
    /// - Parameters:
    ///   - id: The upload.
    ///   - user: The user who uploads.
    ///   - bytes: The most bytes that the request may bring.
    ///   - limits: The limits of the user.
    /// - Throws: As ``charge(_:of:bytes:limits:)``.
    public func chargeRequest(of id: UUID, of user: UserID, bytes: Int64, limits: UploadLimits) async throws {
        // The creation has counted in the hour.
        let limits = UploadLimits(atOnce: limits.atOnce, perHour: 0, bytesPerDay: limits.bytesPerDay)
        try await charge(id, of: user, bytes: bytes, limits: limits, lease: Self.lease)
    }

    /// Charges a request of an upload.
    ///
    /// - Throws: ``UploadRefusal`` if a limit is reached; ``PostgresError`` if the database does not answer.
    private func charge(
        _ id: UUID, of user: UserID, bytes: Int64, limits: UploadLimits, lease: Duration?
    ) async throws {
        let rows = try await pool.query(
            """
            SELECT exceeded, wait FROM app.charge_upload(
                \(id), \(user), \(bytes), \(Int32(clamping: limits.atOnce)), \(Int32(clamping: limits.perHour)),
                \(Int64(limits.bytesPerDay)), \(lease))
            """)
        guard let row = rows.first else { return }
        throw UploadRefusal(
            limit: UploadRefusal.Limit(rawValue: try row.decode("exceeded", as: String.self)) ?? .atOnce,
            wait: .seconds(try row.decode("wait", as: Double.self)))
    }

    /// Extends the time for which an upload counts as under way.
    ///
    /// - Parameters:
    ///   - id: The id of the upload.
    ///   - silence: For how long no byte has arrived.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func keep(_ id: UUID, silentFor silence: Duration = .zero) async throws {
        _ = try await pool.query("SELECT app.keep_upload(\(id), \(Self.lease), \(silence))")
    }

    /// Ends a request of a resumable upload.
    ///
    /// - Parameters:
    ///   - bytes: The number of bytes that the request brought, kept or not.
    ///   - id: The id of the upload.
    ///   - endsRequest: False if another request of the upload has taken over, and is under way.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func add(_ bytes: Int64, to id: UUID, endsRequest: Bool = true) async throws {
        _ = try await pool.query(Self.addition(of: bytes, to: id, endsRequest))
    }

    /// The same in the caller's transaction.
    static func add(_ bytes: Int64, to id: UUID, endsRequest: Bool, on connection: PostgresConnection) async throws {
        _ = try await connection.query(addition(of: bytes, to: id, endsRequest))
    }

    private static func addition(of bytes: Int64, to id: UUID, _ endsRequest: Bool) -> PostgresQuery {
        "SELECT app.add_upload_bytes(\(id), \(bytes), \(endsRequest))"
    }

    /// Ends an upload.
    ///
    /// - Parameters:
    ///   - id: The id of the upload.
    ///   - bytes: The number of bytes that arrived; nil removes the charge of an upload that was refused before it
    ///     began.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func end(_ id: UUID, bytes: Int64?) async throws {
        _ = try await pool.query("SELECT app.end_upload(\(id), \(bytes))")
    }

    /// Deletes the ended uploads that are older than a day.
    ///
    /// - Returns: The number of deleted rows.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func forgetOld() async throws -> Int {
        let rows = try await pool.query("SELECT app.delete_expired_uploads() AS deleted")
        return try rows.first?.decode("deleted", as: Int.self) ?? 0
    }
}
