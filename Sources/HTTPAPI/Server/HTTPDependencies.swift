public import Credentials
public import Domain
public import Polling
public import Prometheus
public import Recordings
public import Store

/// What the HTTP side of the server works with.
public struct HTTPDependencies: Sendable {
    /// What proves who a caller is.
    public struct Authentication: Sendable {
        let tokens: AccessTokens
        let identityProvider: IdentityProvider?
        let passwords: Passwords

        /// Groups what proves who a caller is.
        ///
        /// - Parameters:
        ///   - tokens: Issues and verifies access tokens.
        ///   - identityProvider: Verifies the tokens of the site's own identity provider; nil when there is none.
        ///   - passwordCost: The work of one new hash of a password.
        public init(
            tokens: AccessTokens, identityProvider: IdentityProvider?, passwordCost: Passwords.Cost = .standard
        ) {
            self.tokens = tokens
            self.identityProvider = identityProvider
            passwords = Passwords(cost: passwordCost)
        }
    }

    /// What tells operators how the server does.
    public struct Monitoring: Sendable {
        let metrics: PrometheusRegistry
        let missing: @Sendable () async -> String?

        /// Groups what tells operators how the server does.
        ///
        /// - Parameters:
        ///   - metrics: Takes what the server counts, and renders it.
        ///   - missing: Returns what keeps the server from being ready, in words for the log; nil when nothing does.
        public init(metrics: PrometheusRegistry, missing: @escaping @Sendable () async -> String?) {
            self.metrics = metrics
            self.missing = missing
        }
    }

    let stores: Stores
    let recordings: RecordingStore
    let entries: LateEntries
    let reports: ReportBatcher
    let work: WorkSignals
    let streams: StreamEngine
    let authentication: Authentication
    let monitoring: Monitoring
    let webhookRules: WebhookRules
    let clock: any MonotonicClock

    /// Groups what the HTTP side works with.
    ///
    /// - Parameters:
    ///   - stores: The database.
    ///   - recordings: The recordings on disk.
    ///   - entries: Enters recordings that are complete. It has to run for as long as the server does.
    ///   - reports: Gathers progress reports. It has to run for as long as the server does.
    ///   - work: Wakes pipelines that wait for a session.
    ///   - streams: The open streams.
    ///   - authentication: What proves who a caller is.
    ///   - monitoring: What tells operators how the server does.
    ///   - webhookRules: Where webhooks may go.
    ///   - clock: The clock of everything that waits or is measured.
    public init(
        stores: Stores, recordings: RecordingStore, entries: LateEntries, reports: ReportBatcher, work: WorkSignals,
        streams: StreamEngine, authentication: Authentication, monitoring: Monitoring, webhookRules: WebhookRules,
        clock: any MonotonicClock
    ) {
        self.stores = stores
        self.recordings = recordings
        self.entries = entries
        self.reports = reports
        self.work = work
        self.streams = streams
        self.authentication = authentication
        self.monitoring = monitoring
        self.webhookRules = webhookRules
        self.clock = clock
    }
}
