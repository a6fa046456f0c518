public import Postgres

/// Every store of the program, over one pool.
public struct Stores: Sendable {
    /// Accounts, and who works with whom.
    public let users: UserStore
    /// Sign-ins and their refresh tokens.
    public let signIns: SignInStore
    /// Tickets for streams.
    public let tickets: TicketStore
    /// Failed attempts to sign in.
    public let attempts: AttemptStore
    /// The audit log.
    public let audit: AuditStore
    /// What users have uploaded.
    public let charges: UploadChargeStore
    /// Sessions, transcripts and notes.
    public let sessions: SessionStore
    /// The progress of sessions.
    public let progress: ProgressStore
    /// The worker's queue.
    public let queue: PipelineStore

    /// Makes the stores.
    public init(pool: PostgresPool) {
        users = UserStore(pool: pool)
        signIns = SignInStore(pool: pool)
        tickets = TicketStore(pool: pool)
        attempts = AttemptStore(pool: pool)
        audit = AuditStore(pool: pool)
        charges = UploadChargeStore(pool: pool)
        sessions = SessionStore(pool: pool)
        progress = ProgressStore(pool: pool)
        queue = PipelineStore(pool: pool)
    }
}
