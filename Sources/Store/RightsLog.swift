public import Domain
import Postgres

/// A change that ended or began a right, and whom it concerns.
///
/// A change without a user, patient and session concerns everybody.
public struct RightsChange: Sendable, Hashable {
    /// The transaction that made the change.
    public var transaction: Int64
    /// The user whose account, sign-in or assignment changed.
    public var user: UserID?
    /// The sign-in, if the change concerns only what was opened under it.
    public var signIn: SignInID?
    /// A patient whose sessions the user may see now, or could see before; or a patient of the session.
    public var patient: UserID?
    /// The session that was deleted, or moved to another patient.
    public var session: SessionID?

    /// A change with the ids that are known.
    public init(
        in transaction: Int64, user: UserID? = nil, signIn: SignInID? = nil, patient: UserID? = nil,
        session: SessionID? = nil
    ) {
        self.transaction = transaction
        self.user = user
        self.signIn = signIn
        self.patient = patient
        self.session = session
    }
}

/// What a read says about rights: the changes since the snapshot of an earlier read, from its own snapshot.
public struct RightsNews: Sendable, Equatable {
    /// The snapshot of this read.
    public var snapshot: DatabaseSnapshot
    /// The changes that the earlier snapshot does not show; nil if the read did not look for any.
    public var changes: [RightsChange]?
    /// The greatest transaction whose rows were removed from the logs.
    ///
    /// A reader whose last snapshot does not show all transactions up to it may have missed a row.
    public var horizon: Int64 = 0

    /// News from a snapshot.
    public init(at snapshot: DatabaseSnapshot, changes: [RightsChange]?, horizon: Int64 = 0) {
        self.snapshot = snapshot
        self.changes = changes
        self.horizon = horizon
    }
}

extension RightsNews {
    /// Whether the logs still have everything that a snapshot of the same timeline does not show.
    public func isComplete(since earlier: DatabaseSnapshot) -> Bool {
        earlier.timeline == snapshot.timeline && earlier.oldest > horizon
    }
}

extension ProgressStore {
    /// Reads the changes of rights.
    ///
    /// - Parameter snapshot: The snapshot of the last read; nil for none, and no changes.
    /// - Returns: The changes since then.
    /// - Throws: ``PostgresError`` if the database does not answer, or is in recovery.
    public func rights(since snapshot: DatabaseSnapshot?) async throws -> RightsNews {
        let rows = try await pool.query("SELECT * FROM app.read_rights(\(snapshot?.text))")
        return try RightsNews.split(rows, since: snapshot).news
    }
}

extension RightsNews {
    /// Splits an answer that begins with the rows of `app.read_rights` from its other rows.
    ///
    /// - Parameters:
    ///   - rows: The answer.
    ///   - earlier: The snapshot after which the read looked for changes; nil if it did not.
    /// - Returns: The changes of rights, and the other rows.
    /// - Throws: ``StoreError`` if there is no row; ``PostgresError`` with code `decoding` for a malformed one.
    static func split(_ rows: PostgresRows, since earlier: DatabaseSnapshot?) throws -> (
        news: RightsNews, rest: Slice<PostgresRows>
    ) {
        guard let first = rows.first else { throw StoreError.noRow }
        var changes: [RightsChange] = []
        var rest = rows.dropFirst()
        while let row = rest.first, let transaction = try row.decode("changed_in", as: Int64?.self) {
            changes.append(
                RightsChange(
                    in: transaction, user: try row.decode("changed_user", as: UserID?.self),
                    signIn: try row.decode("changed_sign_in", as: SignInID?.self),
                    patient: try row.decode("changed_patient", as: UserID?.self),
                    session: try row.decode("changed_session", as: SessionID?.self)))
            rest = rest.dropFirst()
        }
        let snapshot = try DatabaseSnapshot(first)
        // The transactions of another timeline say nothing about this one.
        let news = RightsNews(
            at: snapshot, changes: earlier?.timeline == snapshot.timeline ? changes : nil,
            horizon: try first.decode("horizon", as: Int64.self))
        return (news, rest)
    }
}

extension DatabaseSnapshot {
    /// Reads the columns `cluster`, `timeline` and `snapshot`.
    ///
    /// - Throws: ``StoreError`` if the snapshot is not one; ``PostgresError`` with code `decoding` if a column has
    ///   another type.
    init(_ row: PostgresRow) throws {
        let timeline = DatabaseTimeline(
            cluster: try row.decode("cluster", as: Int64.self), number: try row.decode("timeline", as: Int32.self))
        guard let snapshot = DatabaseSnapshot(try row.decode("snapshot", as: String.self), on: timeline) else {
            throw StoreError.noRow
        }
        self = snapshot
    }
}
