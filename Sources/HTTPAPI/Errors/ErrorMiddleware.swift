import Credentials
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOHTTP1
import Postgres
import Recordings
import Store

/// Turns every error into a response, and gives every response its `X-Request-Id`.
///
/// This is the one table from error to status. An error that the table does not have becomes a 500 with a fixed text, and the
/// log holds the error.
struct ErrorMiddleware: RouterMiddleware {
    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        var response: Response
        do {
            response = try await next(request, context)
        } catch let error as HTTPParserError {
            // The bytes are not HTTP any more: the channel answers and closes.
            throw error
        } catch {
            let problem = Self.problem(for: error)
            Self.log(problem, error, context.logger)
            response = problem.response(requestID: context.id)
            // A client would take a body after HEAD for the next answer. Routes remove the body of their own answers.
            if request.method == .head { response = response.createHeadResponse() }
        }
        response.headers[.requestID] = context.id
        return response
    }

    /// Logs a problem that is not the client's fault.
    static func log(_ problem: Problem, _ error: any Error, _ logger: Logger) {
        if problem.kind == .internalError {
            var metadata: Logger.Metadata = ["error": "\(error)"]
            if (error as? PostgresError)?.isOfUnnamedPooler ?? false { metadata["remedy"] = "\(UnnamedPooler.remedy)" }
            logger.error("request failed", metadata: metadata)
        } else if problem.kind.isOfServer {
            var metadata: Logger.Metadata = ["error": "\(error)"]
            if let fault = error as? StorageFault {
                metadata["folder"] = "\(fault.folder)"
                metadata["remedy"] = "\(fault.remedy)"
            }
            logger.warning("request refused", metadata: metadata)
        }
    }

    /// The table.
    static func problem(for error: any Error) -> Problem {
        switch error {
        case let problem as Problem: problem
        case let error as PostgresError: problem(for: error)
        case let refusal as ReportRefusal: problem(for: refusal)
        case is UnreadableRow: .unreadable
        case is SignInEnded: .unauthorized
        case let kept as RecordingKept: kept.problem
        case ReportBatcher.Refusal.full:
            Problem(.unavailable, "Too many reports at once. Try again in a moment.")
        case ReportBatcher.Refusal.closed: Problem(.unavailable, "The server is shutting down.")
        case let malformation as MultipartParser.Malformation: problem(for: malformation)
        case Passwords.Failure.overloaded:
            Problem(.unavailable, "Too many sign-ins at once. Try again in a moment.")
        case Passwords.Failure.unacceptable(let rule): Problem.invalid("password", rule)
        case let fault as StorageFault: problem(for: fault.code)
        case let error as any HTTPResponseError: problem(forStatus: error.status)
        default: problem(ofFile: error)
        }
    }

    private static func problem(for error: PostgresError) -> Problem {
        let answer = error.answer
        return problem(
            for: answer?.sqlState, code: answer?.constraintName, values: answer?.detail,
            isOfTable: answer?.tableName != nil, isTransient: error.isTransient)
    }

    private static func problem(for refusal: ReportRefusal) -> Problem {
        switch refusal {
        case .notSignedIn: .unauthorized
        case .inactive: .inactive
        case .notPermitted: .forbidden
        case .unreadable: .unreadable
        case .database(let state, let code, let values):
            problem(for: state, code: code, values: values, isOfTable: false, isTransient: state.isTransient)
        }
    }

    /// The problem for what the database refused.
    ///
    /// - Parameters:
    ///   - state: The SQLSTATE, which decides the status.
    ///   - code: The code of a refusal of our schema, or the name of a violated constraint.
    ///   - values: The values of the refusal's words, as JSON.
    ///   - isOfTable: True if a constraint of a table is violated. Only a fault of ours can violate one.
    ///   - isTransient: True if the database may answer a little later.
    /// - Returns: The problem. A code that this release does not know gets the text of its SQLSTATE.
    private static func problem(
        for state: SQLState?, code: String?, values: String?, isOfTable: Bool, isTransient: Bool
    ) -> Problem {
        let refusal = code.flatMap(SchemaRefusal.init(rawValue:))
        let words = refusal?.detail(values: values)
        return switch state {
        // Any other lack of a privilege is a fault of ours.
        case .insufficientPrivilege where refusal == .leaseRequired || refusal == .leaseNotStanding:
            Problem(.conflict, words ?? "The present state does not allow this.")
        case .deletedSessionID: Problem(.conflict, words ?? "The id is taken.")
        case .checkViolation where words != nil || !isOfTable:
            Problem(.conflict, words ?? "The present state does not allow this.")
        case .invalidParameterValue: invalid(refusal, words)
        case .noDataFound: .noSession
        case .invalidAuthorization: .unauthorized
        default:
            isTransient
                ? Problem(.unavailable, words ?? "The database cannot answer in time. Try again in a moment.")
                : .unexpected
        }
    }

    private static func invalid(_ refusal: SchemaRefusal?, _ words: String?) -> Problem {
        var problem = Problem(.invalid, words ?? "The database does not accept a value of this request.")
        problem.errors = refusal?.field.map { [Problem.FieldError(field: $0, code: .invalid)] } ?? []
        return problem
    }

    private static func problem(for malformation: MultipartParser.Malformation) -> Problem {
        let detail =
            switch malformation {
            case .badBoundary: "Send multipart/form-data with a boundary."
            case .noBoundary: "The body does not begin with the boundary that its Content-Type names."
            case .headersTooLong: "The headers of a part are too long."
            case .badHeaders:
                "Each part needs one Content-Disposition of form-data, with a name, and at most one Content-Type."
            case .truncated: "The body ended before its closing boundary."
            }
        return Problem(.malformed, detail).closing()
    }

    private static func problem(forStatus status: HTTPResponse.Status) -> Problem {
        switch status {
        case .notFound: Problem(.notFound, "There is nothing at this path.")
        case .contentTooLarge: Problem(.tooLarge, "The body is too large.").closing()
        case .badRequest: Problem(.malformed, "The server cannot read the request.").closing()
        default: .unexpected
        }
    }

    private static func problem(for code: StorageFault.Code) -> Problem {
        switch code {
        case .full: Problem(.storageFull, "There is no room for the recording. Ask your administrator.").closing()
        case .missing: away("is missing. The operator has to mount or restore it")
        case .forbidden: away("does not let the server in. The operator has to correct its owner and mode")
        case .readOnly: away("is read-only. The operator has to mount it for writing")
        case .failing: away("fails. The operator has to look at its disk or its file server")
        }
    }

    private static func away(_ mend: String) -> Problem {
        Problem(.storageUnavailable, "The folder of recordings (UPLOAD_DIR) \(mend). Then send this again.").closing()
    }

    /// The problem for the error of a file.
    ///
    /// The store of recordings tells of its folder by ``StorageFault``. A single file that is missing is a fault of ours.
    private static func problem(ofFile error: any Error) -> Problem {
        guard let code = StorageFault.code(of: error), code != .missing else { return .unexpected }
        return problem(for: code)
    }
}

extension PostgresError {
    /// The database's own account of this error, or of the first of its causes that has one.
    fileprivate var answer: ServerFields? {
        server ?? underlying.lazy.compactMap { ($0 as? PostgresError)?.answer }.first
    }
}

/// A pooler that stands between the server and its database, and that no setting names.
public enum UnnamedPooler {
    /// What the operator has to do.
    public static let remedy =
        "a pooler is in between: set DATABASE_POOLER=transaction, and DATABASE_LISTEN_URL to a direct connection"
}
