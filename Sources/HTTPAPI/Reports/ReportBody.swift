import Domain

/// One report as JSON, alone or in a list.
///
/// The session's id stands elsewhere.
struct ReportBody: Decodable {
    var status: String
    var progress: WholeNumber
    var message: String?
    var error: String?
    var estimatedTimeRemaining: WholeNumber?
    var attempt: WholeNumber?
    var lease: String?

    enum CodingKeys: String, CodingKey {
        case status, progress, message, error, attempt, lease
        case estimatedTimeRemaining = "estimated_time_remaining"
    }

    /// The report, if its values fit the parameters of the database's function.
    ///
    /// - Throws: 422, with the name of the value.
    func report(of session: SessionID) throws(Problem) -> ProgressReport {
        guard let known = SessionStatus(rawValue: status) else {
            throw Problem.invalid("status", "is not a known status.")
        }
        if let estimate = estimatedTimeRemaining?.value, estimate > Int32.max {
            throw Problem.invalid("estimated_time_remaining", "is too large.")
        }
        for (name, text) in [("message", message), ("error", error), ("lease", lease)]
        where text?.utf8.contains(0) == true {
            throw Problem.invalid(name, "cannot hold a NUL character.")
        }
        return ProgressReport(
            sessionID: session, status: known, progress: progress.value, message: message, error: error,
            estimatedTimeRemaining: estimatedTimeRemaining?.value, attempt: attempt?.value,
            lease: lease.map(LeaseToken.init))
    }
}

/// Many reports as JSON: `{"reports": [{"session_id": …, …}]}`.
struct ReportListBody: Decodable {
    /// The maximum number of reports in one request.
    static let limit = 1000
    /// The maximum size in bytes: room for that many messages of 2,000 characters, two bytes each.
    static let maximumBytes = 4 << 20
    /// The maximum number of values: many times what that many reports have, and few enough for the decoder.
    static let maximumValues = 200_000

    /// One entry of the list.
    enum Entry {
        case report(ProgressReport)
        /// The entry is not a report. It holds the session if at least the id can be read.
        case invalid(SessionID?, Problem)
    }

    let entries: [Entry]

    private enum CodingKeys: String, CodingKey { case reports }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        var list = try container.nestedUnkeyedContainer(forKey: .reports)
        let count = list.count ?? 0
        guard count <= Self.limit else {
            throw Problem.invalid("reports", "can hold at most \(Self.limit) reports.")
        }
        guard count > 0 else { throw Problem.invalid("reports", "cannot be empty.") }
        var entries: [Entry] = []
        entries.reserveCapacity(count)
        while !list.isAtEnd { entries.append(try list.decode(Entry.self)) }
        self.entries = entries
    }
}

extension ReportListBody.Entry: Decodable {
    private enum CodingKeys: String, CodingKey { case sessionID = "session_id" }

    /// Never throws for a fault of this entry, which would spoil the other entries.
    init(from decoder: any Decoder) throws {
        var session: SessionID?
        do {
            let id = try decoder.container(keyedBy: CodingKeys.self).decode(SessionID.self, forKey: .sessionID)
            session = id
            self = .report(try ReportBody(from: decoder).report(of: id))
        } catch let error as DecodingError {
            self = .invalid(session, JSON.problem(of: error))
        } catch let problem as Problem {
            self = .invalid(session, problem)
        }
    }
}
