import Domain
import HTTPTypes
import Store

/// The results of many reports as JSON: `{"results": [{"session_id": …, "version": …}]}`, in the order of the reports.
struct ReportResults: Encodable {
    /// The result of one report.
    struct Result: Encodable {
        /// The session; null if the entry's id is not a UUID.
        var sessionID: SessionID?
        var version: Int64?
        var problem: Problem?

        private enum CodingKeys: String, CodingKey {
            case sessionID = "session_id"
            case version
            case problem = "error"
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(sessionID, forKey: .sessionID)
            try container.encodeIfPresent(version, forKey: .version)
            try container.encodeIfPresent(problem.map(EntryProblem.init), forKey: .problem)
        }
    }

    /// The members of one problem among many in an answer.
    ///
    /// The head of the answer carries the request's id.
    private struct EntryProblem: Encodable {
        var type: String
        var title: String
        var status: Int
        var detail: String

        init(_ problem: Problem) {
            type = problem.type
            title = problem.kind.title
            status = problem.kind.status.code
            detail = problem.detail
        }
    }

    let results: [Result]

    /// The results of a list.
    ///
    /// - Parameters:
    ///   - entries: The entries of the list.
    ///   - outcomes: The outcomes of those entries that are reports, in their order.
    /// - Throws: A refusal that concerns the caller, and therefore every report.
    init(of entries: [ReportListBody.Entry], outcomes: [ReportOutcome]) throws {
        var outcomes = outcomes.makeIterator()
        results = try entries.map { entry in
            switch entry {
            case .invalid(let session, let problem): return Result(sessionID: session, problem: problem)
            case .report(let report):
                switch outcomes.next() {
                case .accepted(let version, _): return Result(sessionID: report.sessionID, version: version)
                case .refused(let refusal):
                    guard case .database = refusal else { throw refusal }
                    return Result(sessionID: report.sessionID, problem: ErrorMiddleware.problem(for: refusal))
                case nil: preconditionFailure("a report without an outcome")
                }
            }
        }
    }
}
