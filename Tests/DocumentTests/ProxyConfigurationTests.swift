import Foundation
import TestSupport
import Testing

/// The sample configurations of proxies in the documentation.
struct ProxyConfigurationTests {
    /// The blocks of a language in all documents.
    private static func blocks(of language: String) throws -> [String] {
        let folder = packageRoot.appending(path: "docs")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path(percentEncoded: false))
        return try names.filter { $0.hasSuffix(".md") }.flatMap { name -> [String] in
            let text = try String(contentsOf: folder.appending(path: name), encoding: .utf8)
            return text.components(separatedBy: "```\(language)\n").dropFirst()
                .map { $0.components(separatedBy: "\n```")[0] }
        }
    }

    @Test("The log of the sample nginx has no query, and with it no ticket")
    func tickets() throws {
        let blocks = try Self.blocks(of: "nginx")
        try #require(blocks.count == 1)
        let lines = blocks[0].split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
            .filter { !$0.hasPrefix("#") }
        let text = lines.joined(separator: "\n")
        // These variables hold the query, or the address of a page before.
        for variable in ["$request ", "$request\"", "$request_uri", "$args", "$query_string", "$http_referer", "$arg_"]
        {
            #expect(!text.contains(variable), "\(variable)")
        }
        let formats = lines.filter { $0.hasPrefix("log_format") }
        #expect(formats.count == 1)
        let name = try #require(formats.first?.split(separator: " ").dropFirst().first)
        let logs = lines.filter { $0.hasPrefix("access_log") }
        #expect(!logs.isEmpty, "nginx's own format has the query")
        for log in logs { #expect(log.hasSuffix(" \(name);"), "\(log)") }
        // nginx writes the whole request line into its error log.
        let streams = try #require(text.components(separatedBy: "location ~ /status/(stream|ws)$").dropFirst().first)
        #expect(streams.prefix { $0 != "}" }.contains("error_log /var/log/nginx/error.log crit;"))
    }
}
