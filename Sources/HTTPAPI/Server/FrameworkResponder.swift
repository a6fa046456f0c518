import Hummingbird
import HummingbirdCore
import Logging
import NIOHTTP1

/// Answers the requests of a connection by the router, as the framework's own `Application` does.
///
/// `Application` comes with a server socket of its own, and the ``Acceptor`` takes the place of that socket.
enum FrameworkResponder {
    /// A malformed request whose answer has begun.
    ///
    /// The framework would write a second answer for the error of the parser.
    private struct MalformedDuringAnswer: Error {}

    /// Makes the closure that answers one request.
    ///
    /// - Parameters:
    ///   - router: The routes and their middleware.
    ///   - date: The value of the header `Date`.
    ///   - logger: Takes the log. The context adds the request's id to its lines.
    /// - Returns: The closure.
    static func responder(
        _ router: RouterResponder<AppContext>, date: DateHeader, logger: Logger
    ) -> HTTP1Channel.Responder {
        { request, writer, channel in
            let context = AppContext(source: .init(channel: channel, logger: logger))
            do {
                var response = try await answer(request, router, context)
                response.headers[.date] = date.value
                do {
                    try await writer.write(response: response.head, body: response.body)
                } catch is HTTPParserError {
                    throw MalformedDuringAnswer()
                }
            } catch {
                await context.delivery.end()
                throw error
            }
            await context.delivery.end()
        }
    }

    private static func answer(
        _ request: Request, _ router: RouterResponder<AppContext>, _ context: AppContext
    ) async throws -> Response {
        do {
            return try await router.respond(to: request, context: context)
        } catch let error as HTTPParserError {
            throw error
        } catch {
            context.logger.error("a request failed outside of its route", metadata: ["error": "\(type(of: error))"])
            return Response(status: .internalServerError)
        }
    }
}
