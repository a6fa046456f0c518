import HTTPTypes
import NIOCore
import NIOHTTPTypes

/// What every connection needs beside HTTP itself.
final class ConnectionHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias OutboundOut = HTTPResponsePart

    /// How long sent bytes may stay unacknowledged before the connection counts as dead, in milliseconds.
    private static let userTimeout = 60_000

    func handlerAdded(context: ChannelHandlerContext) {
        // TCP_USER_TIMEOUT, tcp(7): "the maximum amount of time in milliseconds that transmitted data may remain
        // unacknowledged […] before TCP will forcibly close the corresponding connection". A loopback test channel has none.
        _ = context.channel.setOption(.tcpOption(.tcp_user_timeout), value: Self.userTimeout)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let head) = unwrapInboundIn(data), head.headerFields[.expect]?.lowercased() == "100-continue" {
            // RFC 9110, 10.1.1: the client waits for this before it sends the body.
            context.writeAndFlush(wrapOutboundOut(.head(HTTPResponse(status: .continue))), promise: nil)
        }
        context.fireChannelRead(data)
    }
}

extension NIOBSDSocket.Option {
    /// `TCP_USER_TIMEOUT` of Linux's `netinet/tcp.h`.
    fileprivate static let tcp_user_timeout = NIOBSDSocket.Option(rawValue: 18)
}
