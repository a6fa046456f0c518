public import Postgres

/// All stores of the program, over one pool.
public struct Stores: Sendable {
    /// Accounts and assignments.
    public let users: UserStore
    /// Sign-ins and their refresh tokens.
    public let signIns: SignInStore
    /// Tickets for streams.
    public let tickets: TicketStore
    /// Failed attempts to sign in.
    public let attempts: AttemptStore
    /// The audit log.
    public let audit: AuditStore
    /// The uploads of each user, for the limits.
    public let charges: UploadChargeStore
    /// Resumable uploads.
    public let uploads: UploadStore
    /// Sessions, recordings, transcripts and notes.
    public let sessions: SessionStore
    /// The progress of sessions.
    public let progress: ProgressStore
    /// The workers' queue.
    public let queue: PipelineStore
    /// What the server need not keep any longer.
    public let retention: RetentionStore
    /// The endpoints of webhooks.
    public let webhooks: WebhookStore
    /// The outbox of webhooks.
    public let outbox: WebhookOutbox

    /// All stores over a pool.
    ///
    /// - Parameters:
    ///   - pool: The pool.
    ///   - merger: Decides which accesses are repeats. By default, each access is recorded at once.
    public init(pool: PostgresPool, merger: AccessMerger = .off) {
        users = UserStore(pool: pool)
        signIns = SignInStore(pool: pool)
        tickets = TicketStore(pool: pool)
        attempts = AttemptStore(pool: pool)
        audit = AuditStore(pool: pool, merger: merger)
        charges = UploadChargeStore(pool: pool)
        uploads = UploadStore(pool: pool)
        sessions = SessionStore(pool: pool)
        progress = ProgressStore(pool: pool, merger: merger)
        queue = PipelineStore(pool: pool)
        retention = RetentionStore(pool: pool)
        webhooks = WebhookStore(pool: pool)
        outbox = WebhookOutbox(pool: pool)
    }
}
