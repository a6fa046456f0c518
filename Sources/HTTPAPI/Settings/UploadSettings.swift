public import SettingsReading
public import Store

/// How much users may upload.
public struct UploadSettings: Sendable {
    /// The maximum size of a recording in bytes.
    public let maximumBytes: Int
    /// How long the body of an upload may stand still.
    public let bodyTimeout: Duration
    /// How long an unfinished resumable upload is kept after its last byte.
    public let resumeLifetime: Duration
    /// How much one user may upload.
    public let limits: UploadLimits

    /// Reads the group.
    ///
    /// - Parameter reader: Reads the environment.
    /// - Throws: ``SettingError`` for the first setting that is bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group("Recordings")
        let maximumBytes = try reader.integer(
            "UPLOAD_MAX_BYTES", in: 1...(1 << 50), default: 524_288_000, "The largest recording.")
        self.maximumBytes = maximumBytes
        bodyTimeout = try reader.seconds(
            "UPLOAD_BODY_TIMEOUT", in: 0.1...86_400, default: 120, "How long the body of an upload may stand still.")
        resumeLifetime = try reader.seconds(
            "UPLOAD_RESUME_TTL", in: 1...31_536_000, default: 86_400,
            "How long an unfinished [resumable upload](uploads.md) is kept after its last byte.")
        let atOnce = try reader.integer(
            "UPLOAD_MAX_CONCURRENT_PER_USER", in: 0...1_000_000, default: 10,
            "The most recordings that one user uploads at once, over all servers. 0: no limit.")
        let perHour = try reader.integer(
            "UPLOADS_PER_HOUR", in: 0...1_000_000, default: 300,
            "The most recordings that one user uploads in an hour, over all servers. 0: no limit.")
        let quotaName = "UPLOAD_QUOTA_BYTES"
        let bytesPerDay = try reader.integer(
            quotaName, in: 0...(1 << 60), default: max(20 << 30, maximumBytes),
            "The most bytes that one user uploads in 24 hours, over all servers. 0: no limit; else at least "
                + "`UPLOAD_MAX_BYTES`.")
        // The quota has to allow one recording of the maximum size.
        guard bytesPerDay == 0 || bytesPerDay >= maximumBytes else {
            throw SettingError(quotaName, "has to be 0, for no limit, or at least UPLOAD_MAX_BYTES")
        }
        limits = UploadLimits(atOnce: atOnce, perHour: perHour, bytesPerDay: bytesPerDay)
    }
}
