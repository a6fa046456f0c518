public import Domain
import Postgres

/// The assignment of a patient to a therapist, present or ended.
public struct AssignmentRecord: Sendable, Encodable {
    /// The patient.
    public var patient: User
    /// True while the assignment gives the therapist rights.
    public var isActive: Bool
    /// When the assignment last began.
    public var startedAt: Timestamp
    /// When the assignment ended; nil while it is active.
    public var endedAt: Timestamp?

    private enum CodingKeys: String, CodingKey {
        case patient
        case isActive = "is_active"
        case startedAt = "started_at"
        case endedAt = "ended_at"
    }

    /// Encodes every member; a missing value is null.
    ///
    /// - Throws: The error of the encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(patient, forKey: .patient)
        try container.encode(isActive, forKey: .isActive)
        try container.encode(startedAt, forKey: .startedAt)
        try container.encode(endedAt, forKey: .endedAt)
    }
}

// The lists of patients and therapists that people choose from.
extension UserStore {
    /// Selects the people of a list.
    public struct PeopleFilter: Sendable {
        /// Only people with this text in the name or the address, regardless of case; nil and an empty text do not
        /// restrict.
        public var text: String?
        /// The page begins after this person; nil for the first page.
        ///
        /// The list is ordered by name. The cursor is an id, because names must not appear in URLs and logs.
        public var after: UserID?
        /// The greatest number of people.
        public var limit: Int

        /// A filter that restricts only the number of people.
        public init(limit: Int) { self.limit = limit }
    }

    /// The active patients for whom the acting user may upload, ordered by name.
    ///
    /// - Parameters:
    ///   - user: The acting user.
    ///   - filter: Selects the patients.
    /// - Returns: The patients; nil if the acting user sees no account of ``PeopleFilter/after``.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func patientsToUploadFor(_ user: User, _ filter: PeopleFilter) async throws -> [User]? {
        let isPatient = "p.role = 'patient' AND p.is_active"
        guard Access.permitsOnAll(.upload, to: user.role) else {
            // OFFSET makes PostgreSQL find each patient by the key, with statistics and without. It would otherwise compare every
            // account with an array of the patients.
            let own = """
                (SELECT u.* FROM app.acting_patients('upload') AS a (id) CROSS JOIN LATERAL (
                    SELECT id, email, full_name, role, is_active FROM app.users WHERE id = a.id OFFSET 0) AS u)
                """
            return try await people(own, isPatient, filter)
        }
        let isOwn = "p.id = ANY (ARRAY(SELECT app.acting_patients('upload')))"
        return try await people(
            "app.users", "\(isPatient) AND ((SELECT app.acting_may_all('upload')) OR \(isOwn))", filter)
    }

    /// The therapists that the acting user sees, ordered by name.
    ///
    /// For a patient, these are the active accounts with an active assignment; for an administrator, the accounts of all
    /// therapists.
    ///
    /// - Parameters:
    ///   - user: The acting user.
    ///   - filter: Selects the therapists.
    /// - Returns: The therapists; nil if the acting user sees no account of ``PeopleFilter/after``.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func therapists(for user: User, _ filter: PeopleFilter) async throws -> [User]? {
        let isOwn = "p.is_active AND p.id = ANY (ARRAY(SELECT app.acting_therapists()))"
        let isSeen =
            Access.permits(.seeAccounts, to: user.role)
            ? "((SELECT app.acting_may_all('see_accounts')) OR \(isOwn))" : isOwn
        return try await people("app.users", "p.role = 'therapist' AND \(isSeen)", filter)
    }

    /// A page of a list of people.
    ///
    /// - Parameters:
    ///   - accounts: The accounts `p` to select from, as SQL.
    ///   - condition: What selects from them, as SQL.
    ///   - filter: The page, and what else selects.
    /// - Returns: The people; nil if the acting user sees no account of ``PeopleFilter/after``.
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` for a role that this release does
    ///   not know.
    private func people(_ accounts: String, _ condition: String, _ filter: PeopleFilter) async throws -> [User]? {
        try await perform { connection in
            var name: String?
            if let after = filter.after {
                name = try await connection.query("SELECT lower(full_name) AS name FROM app.users WHERE id = \(after)")
                    .first?.decode("name", as: String.self)
                guard name != nil else { return nil }
            }
            return try await connection.query(
                """
                SELECT p.id, p.email, p.full_name, p.role
                FROM \(unescaped: accounts) AS p CROSS JOIN (SELECT app.searchable(\(filter.text)) AS words OFFSET 0) AS q
                WHERE \(unescaped: condition)
                  AND \(unescaped: Self.hasWords)
                  AND (\(name)::text IS NULL OR (lower(p.full_name), p.id) > (\(name), \(filter.after)))
                ORDER BY lower(p.full_name), p.id
                LIMIT \(filter.limit)
                """
            ).map(User.init)
        }
    }

    /// The assignments of a therapist, present and ended, ordered by the patient's name.
    ///
    /// - Parameter therapist: The therapist.
    /// - Returns: The present role of the account, and its assignments; nil if the acting user sees no such account.
    /// - Throws: ``PostgresError`` if the database does not answer; ``UnreadableRow`` for a role that this release does
    ///   not know.
    public func assignments(of therapist: UserID) async throws -> (role: Role, assignments: [AssignmentRecord])? {
        try await perform { connection in
            let account = try await connection.query("SELECT role FROM app.users WHERE id = \(therapist)").first
            guard let role = try account?.role("role") else { return nil }
            let assignments = try await connection.query(
                """
                SELECT p.id, p.email, p.full_name, p.role, a.is_active, a.started_at, a.ended_at
                FROM app.therapist_patients a JOIN app.users p ON p.id = a.patient_id
                WHERE a.therapist_id = \(therapist)
                ORDER BY lower(p.full_name), p.id
                """
            ).map {
                AssignmentRecord(
                    patient: try User($0), isActive: try $0.decode("is_active", as: Bool.self),
                    startedAt: try $0.decode("started_at", as: Timestamp.self),
                    endedAt: try $0.decode("ended_at", as: Timestamp?.self))
            }
            return (role, assignments)
        }
    }
}
