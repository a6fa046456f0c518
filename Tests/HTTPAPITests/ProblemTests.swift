import Credentials
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import NIOFileSystem
import Postgres
import Store
import TestSupport
import Testing

@testable import HTTPAPI

@Suite("Problems")
struct ProblemTests {
    @Test("Each problem is in the documentation", arguments: Problem.Kind.allCases)
    func documented(_ kind: Problem.Kind) throws {
        let text = try String(contentsOf: packageRoot.appending(path: "docs/http-api.md"), encoding: .utf8)
        #expect(text.contains("| `/problems/\(kind.rawValue)` | \(kind.status.code) |"))
    }

    @Test("A problem has the type, the status and the headers of its kind", arguments: Problem.Kind.allCases)
    func response(_ kind: Problem.Kind) async throws {
        let response = Problem(kind, "What to do: \"this\".").response(requestID: "r-1")
        #expect(response.status == kind.status)
        #expect((400...599).contains(response.status.code))
        #expect(response.headers[.contentType] == "application/problem+json")
        #expect(response.headers[.cacheControl] == "no-store")
        #expect(response.headers[.connection] == nil)
        #expect((response.headers[.wwwAuthenticate] == "Bearer") == (response.status == .unauthorized))
        #expect((response.headers[.retryAfter] != nil) == (response.status.code == 503))

        var json = try await body(of: response)
        #expect((json.removeValue(forKey: "errors") as? [Any])?.isEmpty == (kind == .invalid ? true : nil))
        #expect(
            json as NSDictionary == [
                "type": "/problems/\(kind.rawValue)", "title": kind.title, "status": kind.status.code,
                "detail": "What to do: \"this\".", "request_id": "r-1",
            ])
    }

    @Test("Each problem has its documented status")
    func statuses() {
        let table: [(Problem.Kind, Int)] = [
            (.malformed, 400), (.unauthorized, 401), (.inactive, 403), (.forbidden, 403), (.originForbidden, 403),
            (.notFound, 404), (.methodNotAllowed, 405), (.notAcceptable, 406), (.conflict, 409), (.tooLarge, 413),
            (.unsupportedMedia, 415), (.noSuchRange, 416), (.invalid, 422), (.upgradeRequired, 426),
            (.tooManyRequests, 429), (.tooSlow, 408), (.gone, 410), (.preconditionFailed, 412), (.locked, 423),
            (.checksumMismatch, 460), (.preconditionRequired, 428),
            (.internalError, 500), (.unavailable, 503), (.storageUnavailable, 503), (.storageFull, 507),
        ]
        for (kind, code) in table { #expect(kind.status.code == code, "\(kind)") }
        #expect(table.count == Problem.Kind.allCases.count)
        #expect(Set(Problem.Kind.allCases.map(\.rawValue)).count == table.count)
    }

    @Test(
        "A 429 says when to come back, in whole seconds and at least one",
        arguments: [(0.001, "1"), (1, "1"), (1.001, "2"), (89.9, "90"), (0, "1"), (-5, "1")])
    func retryAfter(_ wait: Double, _ header: String) {
        #expect(Problem.limited("x", wait: .seconds(wait)).response(requestID: "").headers[.retryAfter] == header)
    }

    @Test(
        "A problem with a value names its field, with a code for programs", arguments: Problem.FieldError.Code.allCases)
    func fields(_ code: Problem.FieldError.Code) async throws {
        let json = try await body(of: Problem.invalid("session_date", "is wrong.", code).response(requestID: "r-1"))
        #expect(json["detail"] as? String == "session_date: is wrong.")
        #expect(json["errors"] as? [[String: String]] == [["field": "session_date", "code": code.rawValue]])
        let text = try String(contentsOf: packageRoot.appending(path: "docs/http-api.md"), encoding: .utf8)
        #expect(text.contains("| `\(code.rawValue)` |"))
    }

    @Test("A problem for an unread body closes the connection")
    func closing() {
        #expect(Problem(.tooLarge, "x").closing().response(requestID: "").headers[.connection] == "close")
    }

    private func body(of response: Response) async throws -> [String: Any] {
        let writer = Collector()
        try await response.body.write(writer)
        return try #require(try JSONSerialization.jsonObject(with: writer.data) as? [String: Any])
    }

    /// Collects a body.
    private final class Collector: ResponseBodyWriter {
        private(set) var data = Data()

        func write(_ buffer: ByteBuffer) { data.append(contentsOf: buffer.readableBytesView) }
        func finish(_ trailingHeaders: HTTPFields?) {}
    }
}

@Suite("The table from error to problem", .deadline)
struct ErrorTableTests {
    /// An error whose text no client may read.
    private struct Secretive: Error, CustomStringConvertible {
        var description: String { secret }
    }
    private static let secret = "SELECT secret FROM /var/lib/secret"

    @Test("An error outside the table reveals nothing")
    func unknown() {
        for error in [Secretive(), CancellationError(), MultipartSecret()] as [any Error] {
            let problem = ErrorMiddleware.problem(for: error)
            #expect(problem.kind == .internalError)
            #expect(!problem.detail.lowercased().contains("secret"))
        }
    }

    private struct MultipartSecret: Error { let secret = ErrorTableTests.secret }

    @Test("A problem is passed on unchanged")
    func problem() {
        let problem = ErrorMiddleware.problem(for: Problem(.conflict, "So and so.").closing())
        #expect(problem.kind == .conflict)
        #expect(problem.detail == "So and so.")
        #expect(problem.closesConnection)
    }

    @Test(
        "A malformed upload gets 400 and closes the connection",
        arguments: [
            MultipartParser.Malformation.badBoundary, .noBoundary, .headersTooLong, .badHeaders, .truncated,
        ])
    func malformation(_ malformation: MultipartParser.Malformation) {
        let problem = ErrorMiddleware.problem(for: malformation)
        #expect(problem.kind == .malformed)
        #expect(problem.closesConnection)
        #expect(problem.detail.hasSuffix("."))
    }

    @Test("A password that cannot be hashed gets the problem of its reason")
    func passwords() {
        #expect(ErrorMiddleware.problem(for: Passwords.Failure.overloaded).kind == .unavailable)
        #expect(ErrorMiddleware.problem(for: Passwords.Failure.malformedHash).kind == .internalError)
        let rule = ErrorMiddleware.problem(for: Passwords.Failure.unacceptable("Too short."))
        #expect(rule.kind == .invalid)
        #expect(rule.detail == "password: Too short.")
    }

    @Test(
        "The framework's own errors get a problem by their status, without their words",
        arguments: [
            (HTTPResponse.Status.notFound, Problem.Kind.notFound), (.contentTooLarge, .tooLarge),
            (.badRequest, .malformed),
            (.internalServerError, .internalError), (.init(code: 418), .internalError),
        ])
    func framework(_ status: HTTPResponse.Status, _ kind: Problem.Kind) {
        let problem = ErrorMiddleware.problem(for: HTTPError(status, message: Self.secret))
        #expect(problem.kind == kind)
        #expect(!problem.detail.contains("secret"))
    }

    @Test(
        "A full disk gets 507, a disk or folder that cannot be used 503, and a fault of ours 500",
        arguments: [
            (Errno.noSpace, Problem.Kind.storageFull), (.diskQuotaExceeded, .storageFull),
            (.ioError, .storageUnavailable), (.readOnlyFileSystem, .storageUnavailable),
            (.permissionDenied, .storageUnavailable), (.staleNFSFileHandle, .storageUnavailable),
            (.noSuchFileOrDirectory, .internalError), (.tooManyOpenFiles, .internalError),
        ])
    func disk(_ errno: Errno, _ kind: Problem.Kind) {
        let error = FileSystemError(
            code: .unknown, message: Self.secret,
            cause: FileSystemError.SystemCallError(systemCall: "pwrite", errno: errno),
            location: .init(function: "", file: Self.secret, line: 0))
        let problem = ErrorMiddleware.problem(for: error)
        #expect(problem.kind == kind)
        #expect(!problem.detail.contains("secret"))
    }

    @Test(
        "A refused report among many gets the same problem as a single one",
        arguments: [
            (ReportRefusal.notSignedIn, Problem.Kind.unauthorized), (.inactive, .inactive), (.notPermitted, .forbidden),
            (.database(.noDataFound, code: "secret", values: secret), .notFound),
            (.database(.lockNotAvailable, code: "secret", values: secret), .unavailable),
            (.database("42601", code: "secret", values: secret), .internalError),
        ])
    func refusal(_ refusal: ReportRefusal, _ kind: Problem.Kind) {
        let problem = ErrorMiddleware.problem(for: refusal)
        #expect(problem.kind == kind)
        #expect(!problem.detail.contains("secret"))
    }

    @Test("Reports that the server does not accept get 503", arguments: [ReportBatcher.Refusal.full, .closed])
    func notTaken(_ refusal: ReportBatcher.Refusal) {
        #expect(ErrorMiddleware.problem(for: refusal).kind == .unavailable)
    }

    @Test("A database that cannot be reached gets 503, without its words")
    func noDatabase() async throws {
        let configuration = try PostgresConfiguration(
            connectionString: "host=127.0.0.1 port=1 user=secret password=secret dbname=secret")
        do {
            try await PostgresConnection.withConnection(configuration) { _ in }
            Issue.record("there is a server on port 1")
        } catch {
            let problem = ErrorMiddleware.problem(for: error)
            #expect(problem.kind == .unavailable)
            #expect(!problem.detail.contains("secret"))
        }
    }
}
