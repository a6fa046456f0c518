import Domain

/// One report as JSON, by itself or in a list; whose session it is about stands elsewhere.
struct ReportBody: Decodable {
    var status: String
    var progress: WholeNumber
    var message: String?
    var error: String?
    var estimatedTimeRemaining: WholeNumber?
    var attempt: WholeNumber?

    enum CodingKeys: String, CodingKey {
        case status, progress, message, error, attempt
        case estimatedTimeRemaining = "estimated_time_remaining"
    }

    /// The report, if its values are such that the database can be asked.
    ///
    /// - Throws: 422, naming the value.
    func report(of session: SessionID) throws(Problem) -> ProgressReport {
        guard let known = SessionStatus(rawValue: status) else {
            throw Problem.invalid("status", "is none of the statuses.")
        }
        if let estimate = estimatedTimeRemaining?.value, estimate > Int32.max {
            throw Problem.invalid("estimated_time_remaining", "is too large.")
        }
        for (name, text) in [("message", message), ("error", error)] where text?.utf8.contains(0) == true {
            throw Problem.invalid(name, "may not hold a NUL character.")
        }
        return ProgressReport(
            sessionID: session, status: known, progress: progress.value, message: message, error: error,
            estimatedTimeRemaining: estimatedTimeRemaining?.value, attempt: attempt?.value)
    }
}

/// Many reports as JSON: `{"reports": [{"session_id": …, …}]}`.
struct ReportListBody: Decodable {
    /// The most reports in one request.
    static let limit = 1000
    /// The most bytes: room for as many messages of 2,000 characters, of two bytes each.
    static let maximumBytes = 4 << 20
    /// The most values: many times what so many reports have, few enough for the decoder.
    static let maximumValues = 200_000

    /// One place in the list.
    enum Entry {
        case report(ProgressReport)
        /// What stands there is no report; the session, if at least that can be read.
        case invalid(SessionID?, Problem)
    }

    let entries: [Entry]

    private enum CodingKeys: String, CodingKey { case reports }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        var list = try container.nestedUnkeyedContainer(forKey: .reports)
        let count = list.count ?? 0
        guard count <= Self.limit else {
            throw Problem.invalid("reports", "may hold at most \(Self.limit) reports.")
        }
        guard count > 0 else { throw Problem.invalid("reports", "may not be empty.") }
        var entries: [Entry] = []
        entries.reserveCapacity(count)
        while !list.isAtEnd { entries.append(try list.decode(Entry.self)) }
        self.entries = entries
    }
}

extension ReportListBody.Entry: Decodable {
    private enum CodingKeys: String, CodingKey { case sessionID = "session_id" }

    /// Never throws for what stands in this place: that would spoil the others.
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
