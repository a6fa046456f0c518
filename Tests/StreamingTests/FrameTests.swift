import Glibc
import TestSupport
import Testing

@testable import Streaming

@Suite("A frame") struct FrameTests {
    private func payload(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(ascii: "a") + UInt8($0 % 26) } }

    @Test("A frame is one chunk", arguments: [1, 9, 10, 15, 16, 17, 255, 256, 4095, 4096, 70_000])
    func chunk(count: Int) throws {
        let payload = payload(count)
        let frame = Frame(payload)
        let body = try ChunkedBody(frame.bytes)
        #expect(body.payloads == [String(decoding: payload, as: UTF8.self)])
        #expect(body.rest == [])
        #expect(!body.isComplete)
        #expect(frame.bytes.first != UInt8(ascii: "0"))
        #expect(Array(frame.bytes[frame.payload]) == payload)
    }

    @Test("A chunk begins with its size in hexadecimal")
    func bytes() {
        #expect(String(decoding: Frame(Array("0123456789".utf8)).bytes, as: UTF8.self) == "a\r\n0123456789\r\n")
    }

    @Test("The last frame ends the body; for a client without chunks it is the payload alone")
    func last() throws {
        let frame = Frame(Array("bye\n\n".utf8), isLast: true)
        #expect(String(decoding: frame.bytes, as: UTF8.self) == "5\r\nbye\n\n\r\n0\r\n\r\n")
        #expect(try ChunkedBody(frame.bytes).isComplete)
        #expect(String(decoding: frame.bytes[frame.payload], as: UTF8.self) == "bye\n\n")
    }

    @Test("A first frame has the head before the first chunk, and is whole for every client", arguments: [true, false])
    func head(isChunked: Bool) {
        let frame = Frame(head: Array("HEAD\r\n\r\n".utf8), payload: Array("first".utf8), isChunked: isChunked)
        let expected = isChunked ? "HEAD\r\n\r\n5\r\nfirst\r\n" : "HEAD\r\n\r\nfirst"
        #expect(String(decoding: frame.bytes, as: UTF8.self) == expected)
        #expect(frame.payload == frame.bytes.indices)
    }
}

@Suite("A socket on its way to the reactor") struct StreamSocketTests {
    @Test("The duplicate is another descriptor of the same socket, closed on exec")
    func duplicate() throws {
        var pair: [CInt] = [0, 0]
        #expect(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &pair) == 0)
        defer { for descriptor in pair { close(descriptor) } }
        let socket = try #require(StreamSocket(duplicating: pair[0]))
        let taken = socket.take()
        defer { close(taken) }
        #expect(taken != pair[0])
        #expect(try identity(of: taken) == identity(of: pair[0]))
        #expect(fcntl(taken, F_GETFD) & FD_CLOEXEC != 0)
    }

    @Test("The last reference closes the socket, unless the reactor took it", arguments: [true, false])
    func lettingGo(isTaken: Bool) throws {
        var pair: [CInt] = [0, 0]
        #expect(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &pair) == 0)
        defer { close(pair[1]) }
        let identity = try identity(of: pair[0])
        do {
            let socket = try #require(StreamSocket(duplicating: pair[0]))
            close(pair[0])
            #expect(try openSockets().contains(identity))
            if isTaken { #expect(close(socket.take()) == 0) }
        }
        #expect(try !openSockets().contains(identity))
    }

    @Test("Without a descriptor there is no socket", arguments: [CInt(-1), 1_000_000])
    func none(descriptor: CInt) {
        #expect(StreamSocket(duplicating: descriptor) == nil)
    }
}
