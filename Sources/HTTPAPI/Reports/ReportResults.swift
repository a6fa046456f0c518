import Domain
import HTTPTypes
import Store

/// What came of many reports as JSON: `{"results": [{"session_id": …, "version": …}]}`, in the order of the reports.
struct ReportResults: Encodable {
    /// What came of one.
    struct Result: Encodable {
        /// The session; null when what stood in its place is no UUID.
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

    /// The members of a problem that is one of many in an answer; the answer's id is in its head.
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

    /// The results of a list, from the outcomes of the entries that are reports, in their order.
    ///
    /// - Throws: The refusal, when it concerns the caller and so every report.
    init(of entries: [ReportListBody.Entry], outcomes: [ReportOutcome]) throws {
        var outcomes = outcomes.makeIterator()
        results = try entries.map { entry in
            switch entry {
            case .invalid(let session, let problem): return Result(sessionID: session, problem: problem)
            case .report(let report):
                switch outcomes.next() {
                case .accepted(let version, _): return Result(sessionID: report.sessionID, version: version)
                case .refused(.database(let state, let message)):
                    let refusal = ReportRefusal.database(state, message: message)
                    return Result(sessionID: report.sessionID, problem: ErrorMiddleware.problem(for: refusal))
                case .refused(let refusal): throw refusal
                case nil: preconditionFailure("a report without an outcome")
                }
            }
        }
    }
}
