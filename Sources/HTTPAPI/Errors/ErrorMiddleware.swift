import Credentials
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOFileSystem
import NIOHTTP1
import Postgres
import Store

/// Turns every error into a response, and gives every response its `X-Request-Id`.
///
/// This is the one table from error to status. What is not in it is a 500 with a fixed text, and goes to the log.
struct ErrorMiddleware: RouterMiddleware {
    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        var response: Response
        do {
            response = try await next(request, context)
        } catch let error as HTTPParserError {
            // The bytes are no HTTP any more: the channel answers and closes.
            throw error
        } catch {
            let problem = Self.problem(for: error)
            Self.log(problem, error, context.logger)
            response = problem.response(requestID: context.id)
            // The routes see to it for what they answer. A body here would be taken for the next answer.
            if request.method == .head { response = response.createHeadResponse() }
        }
        response.headers[.requestID] = context.id
        return response
    }

    /// Logs what is not the client's fault.
    static func log(_ problem: Problem, _ error: any Error, _ logger: Logger) {
        if problem.kind == .internalError {
            logger.error("request failed", metadata: ["error": "\(error)"])
        } else if problem.kind == .unavailable || problem.kind == .storageFull {
            logger.warning("request refused", metadata: ["error": "\(error)"])
        }
    }

    /// The table.
    static func problem(for error: any Error) -> Problem {
        switch error {
        case let problem as Problem: problem
        case let error as PostgresError: problem(for: error)
        case let refusal as ReportRefusal: problem(for: refusal)
        case ReportBatcher.Refusal.full:
            Problem(.unavailable, "Too many reports at once. Try again in a moment.")
        case ReportBatcher.Refusal.closed: Problem(.unavailable, "The server is shutting down.")
        case let malformation as MultipartParser.Malformation: problem(for: malformation)
        case Passwords.Failure.overloaded:
            Problem(.unavailable, "Too many sign-ins at once. Try again in a moment.")
        case Passwords.Failure.unacceptable(let rule): Problem.invalid("password", rule)
        case let error as FileSystemError where isDiskFull(error):
            Problem(.storageFull, "There is no room for the recording. Ask your administrator.").closing()
        case let error as any HTTPResponseError: problem(forStatus: error.status)
        default: Problem(.internalError, "Something went wrong here. It has been noted under this request's id.")
        }
    }

    private static func problem(for error: PostgresError) -> Problem {
        problem(for: error.sqlState, error.server?.message, constraint: error.constraintName, error.isTransient)
    }

    private static func problem(for refusal: ReportRefusal) -> Problem {
        switch refusal {
        case .notSignedIn: .unauthorized
        case .inactive: .inactive
        case .notPermitted: .forbidden
        case .database(let state, let message): problem(for: state, message, constraint: nil, state.isTransient)
        }
    }

    private static func problem(
        for state: SQLState?, _ message: String?, constraint: String?, _ isTransient: Bool
    ) -> Problem {
        switch state {
        // These are raised by functions of our own schema, whose messages are written for this.
        case .checkViolation where constraint == nil: Problem(.conflict, sentence(message))
        case .invalidParameterValue: Problem(.invalid, sentence(message))
        case .noDataFound: .noSession
        case .invalidAuthorization: .unauthorized
        default:
            isTransient
                ? Problem(.unavailable, "The database cannot answer in time. Try again in a moment.")
                : Problem(.internalError, "Something went wrong here. It has been noted under this request's id.")
        }
    }

    private static func sentence(_ message: String?) -> String {
        let text = message ?? "The database refuses this."
        // A field's name stays as it is written in the request.
        let beginning = text.contains(/^[a-z_]+:/) ? String(text.prefix(1)) : text.prefix(1).uppercased()
        return beginning + text.dropFirst() + (text.hasSuffix(".") ? "" : ".")
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
        case .badRequest: Problem(.malformed, "The request cannot be read.").closing()
        default: Problem(.internalError, "Something went wrong here. It has been noted under this request's id.")
        }
    }

    private static func isDiskFull(_ error: FileSystemError) -> Bool {
        error.systemCallErrno.map { $0 == .noSpace || $0 == .diskQuotaExceeded } ?? false
    }
}

extension FileSystemError {
    /// The system's reason, when a system call failed.
    fileprivate var systemCallErrno: Errno? { (cause as? FileSystemError.SystemCallError)?.errno }
}
