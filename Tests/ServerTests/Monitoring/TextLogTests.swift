import Logging
import Testing

@testable import App

@Suite("Log lines as text")
struct TextLogTests {
    private struct Failure: Error, CustomStringConvertible {
        var description: String { "no room" }
    }

    private func line(
        label: String = "server", own: Logger.Metadata = [:], provided: Logger.Metadata = [:],
        _ metadata: Logger.Metadata? = nil, error: (any Error)? = nil
    ) throws -> String {
        var handler = TextLogHandler(label: label)
        handler.metadata = own
        handler.metadataProvider = Logger.MetadataProvider { provided }
        let event = LogEvent(
            level: .warning, message: "request refused", error: error, metadata: metadata, source: "HTTPAPI",
            file: #fileID, function: #function, line: #line)
        let text = String(decoding: handler.line(event, at: 1_800_000_000), as: UTF8.self)
        let time = try #require(text.firstMatch(of: #/^2027-01-1[45]T\d\d:\d\d:\d\d[+-]\d{4} /#))
        return String(text[time.range.upperBound...])
    }

    @Test("A line has level, label, metadata in the order of its keys, source and message")
    func parts() throws {
        #expect(try line() == "warning server: [HTTPAPI] request refused\n")
        #expect(try line(label: "") == "warning: [HTTPAPI] request refused\n")
        #expect(
            try line(["status": "200", "ms": "\(3)", "list": ["a", "b"]])
                == "warning server: list=[\"a\", \"b\"] ms=3 status=200 [HTTPAPI] request refused\n")
    }

    @Test("The message's metadata wins over the provider's, and that over the logger's")
    func precedence() throws {
        #expect(
            try line(
                own: ["a": "own", "b": "own", "c": "own"], provided: ["a": "provided", "b": "provided"],
                ["a": "message"])
                == "warning server: a=message b=provided c=own [HTTPAPI] request refused\n")
    }

    @Test("An error is part of the metadata")
    func error() throws {
        let text = try line(["error.message": "another"], error: Failure())
        #expect(text.contains("error.message=no room error.type="))
        #expect(!text.contains("another"))
    }
}
