public import Credentials
public import HTTPAPI
public import Pipeline
public import Recordings
public import SettingsReading
import Synchronization
public import Webhooks

/// The settings of the server, read from environment variables: one group for each module.
public struct Settings: Sendable {
    /// The database that the server uses.
    public var database: DatabaseSettings
    /// The settings of HTTP, streams and uploads.
    public var http: HTTPSettings
    /// The keys of access tokens.
    public var tokens: TokenSettings
    /// The site's identity provider, or nil if the site has none.
    public var identityProvider: IdentityProviderSettings?
    /// Where recordings are kept.
    public var recordings: RecordingSettings
    /// The commands that the worker runs.
    public var pipeline: PipelineSettings
    /// What stages may use.
    public var stages: StageSettings
    /// The files with secrets, which no stage may see.
    public var stageFiles: StageFiles
    /// How long the server keeps what it may forget.
    public var retention: RetentionSettings
    /// Where webhooks may go.
    public var webhooks: WebhookSettings
    /// How long the server drains after SIGTERM.
    public var shutdownTimeout: Duration

    /// The heading of the operator's settings in `docs/configuration.md`.
    static let operation = "Operation"

    /// Reads and checks all settings of `serve`.
    ///
    /// - Throws: ``SettingError`` for the first setting that is missing or bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        // Settings that another command reads belong to the server, too.
        let names = Mutex<Set<String>>(["DATABASE_MIGRATE_URL", "LOG_LEVEL", "LOG_LEVEL_FILE", "LOG_FORMAT"])
        let reader = reader.observed(by: { declaration in names.withLock { _ = $0.insert(declaration.name) } })
        database = try DatabaseSettings(reader)
        tokens = try TokenSettings(reader)
        identityProvider = try IdentityProviderSettings(reader)
        http = try HTTPSettings(reader)
        recordings = try RecordingSettings(reader)
        pipeline = try PipelineSettings(reader)
        stages = try StageSettings(reader)
        stageFiles = StageFiles(reader)
        retention = try RetentionSettings(reader)
        webhooks = try WebhookSettings(reader)
        shutdownTimeout = try reader.group(Self.operation).seconds(
            "SHUTDOWN_TIMEOUT", in: 0...3600, default: 10, "How long the server drains on SIGTERM.")
        try stages.check(against: names.withLock { $0 })
    }

    /// How long streams may take to end after SIGTERM.
    ///
    /// The HTTP server and the pool shut down after the streams, in what remains of `shutdownTimeout`.
    var streamDrainTimeout: Duration { shutdownTimeout * 0.7 }

    /// How long uploads may go on after SIGTERM.
    ///
    /// Then they get their answer, and the rest of `shutdownTimeout` is for what they leave behind.
    var uploadDrainTimeout: Duration { shutdownTimeout * 0.7 }

    /// How long the deliveries of webhooks may take to end, after the streams and the HTTP server have ended.
    var webhookDrainTimeout: Duration { shutdownTimeout * 0.2 }
}
