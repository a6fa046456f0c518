import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct PageTests {
    @Test("The page and its assets have their content types, entity tags and a strict policy")
    func page() async throws {
        try await withServer { server in
            let page = try await server.request(
                .GET, "/", headers: ["Accept": "text/html,application/xhtml+xml,*/*;q=0.8"])
            #expect(page.status == 200)
            #expect(page.headers["Content-Type"] == ["text/html; charset=utf-8"])
            #expect(page.text.contains("TherapyBridge"))
            #expect(!page.text.contains("{{"))
            // Nothing inline: the policy would block it.
            #expect(page.text.firstMatch(of: /<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=/.ignoresCase()) == nil)

            var paths = ["/", "/favicon.ico"]
            paths += page.text.matches(of: /(?:src|href)="(\/[^"]+)"/).map { String($0.1) }
            let folder = try #require(page.text.firstMatch(of: /src="(\/assets\/[0-9a-f]{12})\/app\.js"/)).1
            #expect(paths.contains("\(folder)/app.css"))
            #expect(paths.contains("/client.js"))
            paths += try await PageCode(server).modules.keys.flatMap { ["\(folder)/\($0)", "/assets/\($0)"] }
            for path in Set(paths) {
                let response = try await server.request(.GET, path)
                #expect(response.status == 200, "\(path)")
                #expect(!response.body.isEmpty)
                if path.hasSuffix(".js") {
                    #expect(response.headers["Content-Type"] == ["text/javascript; charset=utf-8"])
                }
                if path.hasSuffix(".css") { #expect(response.headers["Content-Type"] == ["text/css; charset=utf-8"]) }
                // A browser keeps a file of this release without asking. It asks for all others each time.
                let isOfRelease = path.hasPrefix("\(folder)/")
                #expect(
                    response.headers["Cache-Control"]
                        == [isOfRelease ? "public, max-age=31536000, immutable" : "no-cache"], "\(path)")
                let tag = try #require(response.headers.first(name: "ETag"))
                let again = try await server.request(.GET, path, headers: ["If-None-Match": tag])
                #expect(again.status == 304, "\(path)")
                #expect(again.body.isEmpty)
                #expect(try await server.request(.GET, path, headers: ["If-None-Match": "\"x\""]).status == 200)
            }
        }
    }

    @Test("The page comes in the language of the browser, or in the one that its user has chosen")
    func languages() async throws {
        try await withServer { server in
            for (accepted, cookie, language) in [
                ("de-AT,de;q=0.9,en;q=0.8", "", "de"), ("fr", "", "fr"), ("es, fr;q=0.3, de;q=0.7", "", "de"),
                ("en-GB", "", "en"), ("", "", "en"), ("de;q=0", "", "en"), ("de;q=x", "", "en"), ("*", "", "en"),
                ("de", "tb_language=fr", "fr"), ("de", "tb_language=xx", "de"),
            ] {
                let headers = ["Accept-Language": accepted, "Cookie": cookie].filter { !$0.value.isEmpty }
                let response = try await server.request(.GET, "/", headers: headers)
                #expect(response.text.contains("<html lang=\"\(language)\">"), "\(accepted) \(cookie)")
                let vary = response.headers[canonicalForm: "Vary"].map(String.init)
                #expect(Set(vary).isSuperset(of: ["Accept-Language", "Cookie", "Accept-Encoding"]))
                let words = try #require(response.text.firstMatch(of: /id="sign-in-submit">([^<]+)</)).1
                #expect(words == ["en": "Sign in", "de": "Anmelden", "fr": "Se connecter"][language] ?? "")
            }
        }
    }

    @Test("The tables of words have the same keys and the same gaps in each language")
    func words() async throws {
        try await withServer { server in
            for table in ["words", "admin-words"] {
                var tables: [String: [String: Set<String>]] = [:]
                for language in ["en", "de", "fr"] {
                    let text = try await server.request(.GET, "/assets/\(table)-\(language).js").text
                    var rows: [String: Set<String>] = [:]
                    for row in text.matches(of: /\n +(?:"([^"]+)"|([A-Za-z_]+)): (.+),(?=\n)/) {
                        let gaps = Set(row.3.matches(of: /\{([a-z]+)\}/).map { String($0.1) })
                        rows[String(row.1 ?? row.2 ?? "")] = gaps
                    }
                    tables[language] = rows
                }
                let english = try #require(tables["en"])
                #expect(english.count > 50)
                for language in ["de", "fr"] {
                    #expect(Set(english.keys) == Set((tables[language] ?? [:]).keys), "\(table) \(language)")
                    for (key, gaps) in english { #expect(tables[language]?[key] == gaps, "\(language) \(key)") }
                }
            }
        }
    }

    @Test("The first view of the page is small: what a browser loads before somebody signs in, compressed")
    func size() async throws {
        try await withServer { server in
            let page = try await server.request(.GET, "/").text
            var waiting = page.matches(of: /(?:src|href)="(\/(?:assets\/[^"]+|client\.js|favicon\.ico))"/).map {
                String($0.1)
            }
            var sizes: [String: Int] = [:]
            waiting.append("/")
            while let path = waiting.popLast() {
                if sizes[path] != nil { continue }
                let response = try await server.request(.GET, path, headers: ["Accept-Encoding": "gzip, br"])
                #expect(response.headers.first(name: "Content-Encoding") == "br", "\(path)")
                let older = try await server.request(.GET, path, headers: ["Accept-Encoding": "gzip"])
                #expect(older.headers.first(name: "Content-Encoding") == "gzip", "\(path)")
                #expect(older.body.count > response.body.count, "\(path)")
                sizes[path] = response.body.count
                guard path.hasSuffix(".js") else { continue }
                let folder = path.replacing(/[^\/]+$/, with: "")
                let code = try await server.request(.GET, path).text
                waiting += code.matches(of: /from "\.\/([a-z-]+\.js)"/).map { "\(folder)\($0.1)" }
            }
            let total = sizes.values.reduce(0, +)
            #expect(sizes.count > 10)
            #expect(total < 40_000, "\(sizes)")
        }
    }

    @Test("A page of another website can load the client and its types, if its origin may call the API")
    func client() async throws {
        try await withServer(["SSE_CORS_ORIGIN": "https://example.org"]) { server in
            for (path, type, word) in [
                ("/client.js", "text/javascript; charset=utf-8", "export class TherapyBridge"),
                ("/client.d.ts", "text/plain; charset=utf-8", "export interface Progress"),
            ] {
                let response = try await server.request(.GET, path, headers: ["Origin": "https://example.org"])
                #expect(response.status == 200)
                #expect(response.headers["Content-Type"] == [type])
                #expect(response.headers["Access-Control-Allow-Origin"] == ["https://example.org"])
                #expect(response.text.contains(word))
                // A release may change the client: a browser asks each time.
                #expect(response.headers["Cache-Control"] == ["no-cache"])
                let tag = try #require(response.headers.first(name: "ETag"))
                #expect(try await server.request(.GET, path, headers: ["If-None-Match": tag]).status == 304)
                let stranger = try await server.request(.GET, path, headers: ["Origin": "https://example.com"])
                #expect(stranger.headers["Access-Control-Allow-Origin"].isEmpty)
            }
            #expect(try await server.request(.GET, "/assets/client.js").status == 404)
        }
    }

    @Test("Every response forbids a browser what the page does not need")
    func policy() async throws {
        try await withClinic { clinic in
            for path in [
                "/", "/assets/app.js", "/health", "/nothing", "/api/sessions",
                "/api/sessions/\(clinic.session)/recording",
            ] {
                let response = try await clinic.request(.GET, path, as: .patient)
                let policy = try #require(response.headers.first(name: "Content-Security-Policy"), "\(path)")
                let rules = policy.split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces) }
                for rule in ["default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
                    #expect(rules.contains(rule), "\(path): \(rule)")
                }
                #expect(!policy.contains("unsafe"))
                #expect(!policy.contains("*"))
                #expect(response.headers["X-Content-Type-Options"] == ["nosniff"])
                #expect(response.headers["Referrer-Policy"] == ["no-referrer"])
            }
        }
    }

    /// No browser runs here.
    ///
    /// The test compares the members that the code reads with those of the response.
    @Test("The page reads the members of a transcript that say what is missing")
    func incompleteRecording() async throws {
        try await withClinic { clinic in
            let transcript = PostgresJSON(
                text: #"{"text": "a", "segments": [], "duration_seconds": 3.1, "announced_seconds": 6.1}"#)
            try await clinic.database.query(
                "SELECT app.store_transcript(\(clinic.session.rawValue), 1, \(transcript))")
            let response = try await clinic.request(.GET, of: "/transcript", as: .patient).json()
            let code = try await PageCode(clinic.server)
            let members = try code.match(
                /export function incompleteness\(\{ ([a-z_]+), ([a-z_]+), ([a-z_]+) \}\) \{\n +if \(is_complete !== false\) return "";/,
                in: "words.js")
            #expect(response[String(members.1)] as? Bool == false)
            #expect(response[String(members.2)] as? Double == 3.1)
            #expect(response[String(members.3)] as? Double == 6.1)
            let shown = try code.method("#show(transcript)", in: "transcript.js")
            #expect(shown.contains("showText(this.#part.incomplete, incompleteness(transcript));"))
        }
    }
}
