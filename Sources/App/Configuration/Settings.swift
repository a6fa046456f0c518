public import Foundation
public import HTTPAPI
public import Recordings
public import Store

/// Whose tokens count beside our own.
public struct IdentityProviderSettings: Sendable {
    /// The content of `JWT_JWKS_FILE`.
    public var jwks: Data
    public var issuer: String
    public var audience: String
}

/// The settings of the server, from environment variables.
///
/// Names, defaults and units are those of `docs/configuration.md`.
public struct Settings: Sendable {
    public var databaseURL: String
    public var databaseListenURL: String
    public var isBehindTransactionPooler: Bool
    public var poolSize: Int
    public var host: String
    public var port: Int
    public var publicURL: URL
    public var jwtSecret: String
    /// Keys of before, whose tokens are good until they expire.
    public var previousJWTSecrets: [String]
    /// The site's own identity provider; nil when there is none.
    public var identityProvider: IdentityProviderSettings?
    public var accessLifetime: Duration
    public var refreshLifetime: Duration
    public var signInLimits: SignInLimits
    public var trustedProxies: AddressRanges
    public var allowedOrigins: Set<String>
    public var heartbeatInterval: Duration
    public var updateInterval: Duration
    public var maximumStreams: Int
    public var maximumStreamsPerUser: Int
    public var maximumStreamLifetime: Duration
    public var uploadDirectory: String
    public var maximumUploadBytes: Int
    public var uploadLimits: UploadLimits
    /// What stored recordings are encrypted with; nil when they are stored as they come.
    public var recordingKeys: RecordingKeys?
    public var headTimeout: Duration
    public var bodyTimeout: Duration
    public var maximumConnections: Int
    public var transcribeCommand: String
    public var notesCommand: String?
    /// Where the pipeline has its temporary files; nil for the system's own place.
    public var workDirectory: String?
    /// Where the metrics are served without a token, on loopback; nil for nowhere.
    public var metricsPort: Int?
    public var shutdownTimeout: Duration

    /// Reads and checks everything that `serve` needs.
    ///
    /// - Throws: ``SettingError`` for the first setting that is missing or bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        databaseURL = try reader.connectionString("DATABASE_URL")
        databaseListenURL = try reader.connectionString("DATABASE_LISTEN_URL", default: databaseURL)
        isBehindTransactionPooler = try reader.choice(
            "DATABASE_POOLER", ["off": false, "transaction": true], default: "off")
        poolSize = try reader.integer("DATABASE_POOL_SIZE", in: 1...1000, default: 8)
        host = try reader.host("HOST", default: "127.0.0.1")
        port = try reader.integer("PORT", in: 0...65_535, default: 8000)
        publicURL = try reader.publicURL("PUBLIC_URL", default: "http://\(Self.bracketed(host)):\(port)")
        jwtSecret = try reader.jwtSecret()
        previousJWTSecrets = try reader.previousJWTSecrets()
        identityProvider = try reader.identityProvider()
        accessLifetime = try reader.seconds("JWT_ACCESS_TTL", in: 1...86_400, default: 1800)
        refreshLifetime = try reader.seconds("JWT_REFRESH_TTL", in: 1...31_536_000, default: 604_800)
        signInLimits = SignInLimits(
            perAccount: try reader.integer("LOGIN_MAX_FAILURES_PER_ACCOUNT", in: 0...1_000_000, default: 10),
            perAddress: try reader.integer("LOGIN_MAX_FAILURES_PER_ADDRESS", in: 0...1_000_000, default: 100),
            period: try reader.seconds("LOGIN_FAILURE_PERIOD", in: 1...86_400, default: 900))
        trustedProxies = try reader.addressRanges("TRUSTED_PROXIES", default: "127.0.0.0/8, ::1")
        allowedOrigins = try reader.origins("SSE_CORS_ORIGIN", default: "https://therapybridge.com")
        heartbeatInterval = try reader.seconds("SSE_HEARTBEAT_INTERVAL", in: 0.1...3600, default: 15)
        updateInterval = try reader.seconds("SSE_UPDATE_INTERVAL", in: 0.05...3600, default: 2)
        maximumStreams = try reader.integer("SSE_MAX_STREAMS", in: 0...10_000_000, default: 100_000)
        maximumStreamsPerUser = try reader.integer("SSE_MAX_STREAMS_PER_USER", in: 0...10_000_000, default: 50)
        maximumStreamLifetime = try reader.seconds("SSE_MAX_LIFETIME", in: 1...31_536_000, default: 3600)
        uploadDirectory = reader.text("UPLOAD_DIR") ?? ".data/uploads"
        maximumUploadBytes = try reader.integer("UPLOAD_MAX_BYTES", in: 1...(1 << 50), default: 524_288_000)
        uploadLimits = try reader.uploadLimits(largest: maximumUploadBytes)
        recordingKeys = try reader.recordingKeys()
        headTimeout = try reader.seconds("HTTP_HEAD_TIMEOUT", in: 0.1...3600, default: 20)
        bodyTimeout = try reader.seconds("HTTP_BODY_TIMEOUT", in: 0.1...3600, default: 30)
        maximumConnections = try reader.integer("HTTP_MAX_CONNECTIONS", in: 1...10_000_000, default: 20_000)
        transcribeCommand = reader.text("PIPELINE_TRANSCRIBE_COMMAND") ?? "therapybridge transcribe"
        notesCommand = reader.text("PIPELINE_NOTES_COMMAND")
        workDirectory = reader.text("PIPELINE_WORK_DIR")
        metricsPort = try reader.port("METRICS_PORT", unless: "off")
        if let metricsPort, metricsPort == port {
            throw SettingError("METRICS_PORT", "has to be another port than PORT")
        }
        shutdownTimeout = try reader.seconds("SHUTDOWN_TIMEOUT", in: 0...3600, default: 10)
    }

    private static func bracketed(_ host: String) -> String { host.contains(":") ? "[\(host)]" : host }
}
