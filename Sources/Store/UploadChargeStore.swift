public import Domain
public import Foundation
public import Postgres

/// How much one user may upload; 0 is no limit.
public struct UploadLimits: Sendable {
    /// How many recordings at once (`UPLOAD_MAX_CONCURRENT_PER_USER`).
    public var atOnce: Int
    /// How many in an hour (`UPLOADS_PER_HOUR`).
    public var perHour: Int
    /// How many bytes in 24 hours (`UPLOAD_QUOTA_BYTES`).
    public var bytesPerDay: Int

    /// Limits of one user; 0 is no limit.
    public init(atOnce: Int, perHour: Int, bytesPerDay: Int) {
        self.atOnce = atOnce
        self.perHour = perHour
        self.bytesPerDay = bytesPerDay
    }
}

/// Why an upload may not begin.
public struct UploadRefusal: Error, Sendable, Equatable {
    /// The limits, as the database calls them.
    public enum Limit: String, Sendable, CaseIterable {
        /// Recordings at the same time.
        case atOnce = "at-once"
        /// Recordings in an hour.
        case perHour = "per-hour"
        /// Bytes in 24 hours.
        case bytesPerDay = "bytes-per-day"
    }

    /// The limit that would be exceeded.
    public var limit: Limit
    /// How long until there is room, as far as that is known.
    public var wait: Duration
}

/// What users have uploaded in the last day, over all servers: `app.upload_charges`.
public struct UploadChargeStore: Sendable {
    /// How long an upload counts as one under way when nothing is heard of its server.
    public static let lease = Duration.seconds(120)

    private let pool: PostgresPool

    /// Asks the database through a pool of connections.
    public init(pool: PostgresPool) { self.pool = pool }

    /// Charges an upload that is about to begin.
    ///
    /// - Parameters:
    ///   - id: The id of this upload alone.
    ///   - user: The user who uploads.
    ///   - bytes: The most that the upload may have.
    ///   - limits: The limits of the user.
    /// - Throws: ``UploadRefusal`` when a limit is reached; then nothing is charged. ``PostgresError`` when the
    ///   database cannot answer; then the charge may have been made.
    public func charge(_ id: UUID, of user: UserID, bytes: Int64, limits: UploadLimits) async throws {
        let rows = try await pool.query(
            """
            SELECT exceeded, wait FROM app.charge_upload(
                \(id), \(user), \(bytes), \(Int32(clamping: limits.atOnce)), \(Int32(clamping: limits.perHour)),
                \(Int64(limits.bytesPerDay)), \(Self.lease))
            """)
        guard let row = rows.first else { return }
        throw UploadRefusal(
            limit: UploadRefusal.Limit(rawValue: try row.decode("exceeded", as: String.self)) ?? .atOnce,
            wait: .seconds(try row.decode("wait", as: Double.self)))
    }

    /// Says that an upload is still under way.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func keep(_ id: UUID) async throws {
        _ = try await pool.query("SELECT app.keep_upload(\(id), \(Self.lease))")
    }

    /// Ends an upload.
    ///
    /// - Parameters:
    ///   - id: The id of the upload.
    ///   - bytes: The bytes that came of it; nil when it was refused before it began, and counts for nothing.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func end(_ id: UUID, bytes: Int64?) async throws {
        _ = try await pool.query("SELECT app.end_upload(\(id), \(bytes))")
    }

    /// Removes what is a day old.
    ///
    /// - Returns: How many rows went.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func forgetOld() async throws -> Int {
        let rows = try await pool.query("SELECT app.delete_expired_uploads() AS forgotten")
        return try rows.first?.decode("forgotten", as: Int.self) ?? 0
    }
}
