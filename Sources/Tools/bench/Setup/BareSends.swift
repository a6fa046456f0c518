import ArgumentParser
import Foundation
import Glibc

/// A loop of send(2) over all connections: the least that any server has to do for a fan-out.
///
/// One thread serves one connection after the other, in blocking calls. `GET` opens an event stream, which gets the head
/// of a response. `POST` sends its body, as one event in one chunk, to all open streams, and is answered afterwards.
struct BareSends: BarePeer {
    static let configuration = CommandConfiguration(
        commandName: "bare-sends", abstract: "Send events by a bare loop.", shouldDisplay: false)
    static let readyPath = "/"

    @Argument(help: "The port.")
    var port: Int

    func run() async throws {
        raiseDescriptorLimit()
        let listeningSocket = try listen()
        var streams: [Int32] = []
        while true {
            let connection = accept(listeningSocket, nil, nil)
            guard connection >= 0 else { continue }
            let request = Self.request(on: connection)
            if request.hasPrefix("GET ") {
                Self.send("HTTP/1.1 200 OK\r\n\(Self.streamHeaders)\r\n\r\n", to: connection)
                streams.append(connection)
            } else {
                // Clients that have gone are not worth an event.
                Self.send(event: Self.body(of: request), to: streams)
                Self.send(
                    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", to: connection)
                close(connection)
            }
        }
    }

    private static let streamHeaders = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked"

    private func listen() throws -> Int32 {
        let listeningSocket = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var reuse: Int32 = 1
        setsockopt(listeningSocket, SOL_SOCKET, SO_REUSEADDR, &reuse, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listeningSocket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard listeningSocket >= 0, status == 0, Glibc.listen(listeningSocket, 4096) == 0 else {
            throw BenchmarkError("cannot listen on port \(port): \(String(cString: strerror(errno)))")
        }
        return listeningSocket
    }

    /// Reads a request: its head, and a body of the length in the head.
    private static func request(on connection: Int32) -> String {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 8192)
        while true {
            let count = recv(connection, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            bytes += buffer[..<count]
            let text = String(decoding: bytes, as: UTF8.self)
            guard let end = text.firstRange(of: "\r\n\r\n") else { continue }
            let length = text.firstMatch(of: /(?i)\r\ncontent-length: *(\d+)/).flatMap { Int($0.1) } ?? 0
            if text[end.upperBound...].utf8.count >= length { break }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func body(of request: String) -> Substring {
        request.firstRange(of: "\r\n\r\n").map { request[$0.upperBound...] } ?? ""
    }

    /// Sends one event to all streams.
    private static func send(event: Substring, to streams: [Int32]) {
        let text = "id: 7\nevent: progress\ndata: \(event)\n\n"
        let chunk = Array("\(String(text.utf8.count, radix: 16))\r\n\(text)\r\n".utf8)
        for stream in streams {
            _ = chunk.withUnsafeBytes {
                Glibc.send(stream, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
            }
        }
    }

    private static func send(_ text: String, to connection: Int32) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes {
            Glibc.send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
    }
}
