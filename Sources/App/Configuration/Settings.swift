public import Credentials
public import HTTPAPI
public import Pipeline
public import Recordings
public import SettingsReading

/// The settings of the server, from environment variables: a group for each module that uses some.
public struct Settings: Sendable {
    /// Which database the server uses.
    public var database: DatabaseSettings
    /// What the HTTP side is set to.
    public var http: HTTPSettings
    /// The keys of access tokens.
    public var tokens: TokenSettings
    /// The site's own identity provider; nil when there is none.
    public var identityProvider: IdentityProviderSettings?
    /// Where recordings are kept.
    public var recordings: RecordingSettings
    /// What the worker runs.
    public var pipeline: PipelineSettings
    /// How long the server has to drain on SIGTERM.
    public var shutdownTimeout: Duration

    /// The heading of what operators set.
    static let operation = "Operation"

    /// Reads and checks everything that `serve` needs.
    ///
    /// - Throws: ``SettingError`` for the first setting that is missing or bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        database = try DatabaseSettings(reader)
        tokens = try TokenSettings(reader)
        identityProvider = try IdentityProviderSettings(reader)
        http = try HTTPSettings(reader)
        recordings = try RecordingSettings(reader)
        pipeline = try PipelineSettings(reader)
        shutdownTimeout = try reader.group(Self.operation).seconds(
            "SHUTDOWN_TIMEOUT", in: 0...3600, default: 10, "How long the server drains on SIGTERM.")
    }

    /// How long streams have to end on SIGTERM: the HTTP server and the pool shut down after them, and need some of the time.
    var streamDrainTimeout: Duration { shutdownTimeout * 0.7 }
}
