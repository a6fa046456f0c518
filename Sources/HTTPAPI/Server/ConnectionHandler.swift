import Foundation
import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOHTTPTypes

/// What every connection needs beside HTTP itself.
///
/// It answers `Expect: 100-continue`, answers what is no HTTP with a problem instead of an empty 400, and has the kernel
/// close connections whose other side is gone.
final class ConnectionHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// How long sent bytes may stay unacknowledged before the connection counts as dead, in milliseconds.
    private static let userTimeout = 60_000

    /// How long a client that was told `Connection: close` may take to read the answer and close.
    private static let lingering = TimeAmount.seconds(1)

    /// Requests whose answer is not complete.
    private var openRequests = 0
    /// The present answer says `Connection: close`.
    private var isLastAnswer = false

    func handlerAdded(context: ChannelHandlerContext) {
        // TCP_USER_TIMEOUT, tcp(7): "the maximum amount of time in milliseconds that transmitted data may remain
        // unacknowledged […] before TCP will forcibly close the corresponding connection".
        _ = context.channel.setOption(.tcpOption(.tcp_user_timeout), value: Self.userTimeout)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let head) = unwrapInboundIn(data) {
            openRequests += 1
            if head.headerFields[.expect]?.lowercased() == "100-continue" {
                // RFC 9110, 10.1.1: the client waits for this before it sends the body.
                context.writeAndFlush(wrapOutboundOut(.head(HTTPResponse(status: .continue))), promise: nil)
            }
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head(let head): isLastAnswer = head.headerFields[.connection] == "close"
        case .body: break
        case .end:
            openRequests -= 1
            if isLastAnswer { closeSoon(context) }
        }
        context.write(data, promise: promise)
    }

    /// Closes the connection after a while.
    ///
    /// The framework goes on reading what a client sends whatever was answered; and a close with unread input would reset the
    /// connection, which can lose the answer (RFC 9112, 9.6).
    private func closeSoon(_ context: ChannelHandlerContext) {
        let channel = context.channel
        context.eventLoop.scheduleTask(in: Self.lingering) { channel.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // In the middle of an answer there is no place for another.
        guard error is HTTPParserError, openRequests == 0 else { return context.fireErrorCaught(error) }
        let id = UUID().uuidString.lowercased()
        let body = Problem(.malformed, "The request is not HTTP.").body(requestID: id)
        let head = HTTPResponse(
            status: .badRequest,
            headerFields: [
                .contentType: "application/problem+json", .contentLength: "\(body.readableBytes)", .connection: "close",
                .requestID: id,
            ])
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(body)), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        closeSoon(context)
    }
}

extension NIOBSDSocket.Option {
    /// `TCP_USER_TIMEOUT` of Linux's `netinet/tcp.h`.
    fileprivate static let tcp_user_timeout = NIOBSDSocket.Option(rawValue: 18)
}
