import Foundation
import Testing

@testable import Postgres

/// The words about a connection string that cannot be meant as libpq reads it.
@Suite("Connection strings") struct ConnectionStringTests {
    private static let good = [
        "host=/run/postgresql dbname=x", "postgresql://", "postgres://u:p?w@h:5432/d?sslmode=require",
        "postgresql://u:p%40%2Fw@h1,h2:1,2/d", "host=@abstract dbname=x", "dbname=x password='a schema=b'",
        "postgresql:///d?host=%2Frun%2Fpostgresql", "host=h options='-c search_path=app'",
        "postgresql://h/d?ssl=true",
    ]

    @Test("A good string is read", arguments: good)
    func reads(text: String) throws { _ = try PostgresConfiguration(connectionString: text) }

    /// Strings with a piece of the password `hush`, and words of the answer.
    private static let bad: [(text: String, words: String)] = [
        ("postgresql://u:hu@sh@h/d", "%40 for @"), ("postgresql://u:hu/sh@h/d", "%2F for /"),
        ("postgresql://u:hush/d", "port that is no number"), ("postgresql://u:hu%sh@h/d", "%25 for a %"),
        ("postgresql+asyncpg://u:hush@h/d", "in place of postgresql+asyncpg://"),
        ("jdbc:postgresql://h/d?user=u&password=hush", "in place of jdbc:postgresql://"),
        ("mysql://u:hush@h/d", "has to be a libpq connection string"),
        ("postgresql://u:hush@h/d?schema=public", "the parameter schema"),
        ("postgresql://u:hush@h/d?sslmode=require&pgbouncer=true", "DATABASE_POOLER=transaction"),
        ("postgresql://u:hush@h/d?connection_limit=5", "DATABASE_POOL_SIZE"),
        ("postgresql://u:hush@h/d?hush=1", "cannot be read"), ("host=h password=hu sh=x", "single quotes"),
        ("host=h password=hush Database=d", "write dbname"), ("hush", "has to be a libpq connection string"),
        ("host=h password=hush\0", "NUL"),
    ]

    @Test("The words about a bad string name the remedy, and no piece of the password", arguments: bad)
    func refuses(text: String, words: String) {
        let error = #expect(throws: PostgresError.self) { try PostgresConfiguration(connectionString: text) }
        let line = error?.description ?? ""
        #expect(error?.code == .configuration)
        #expect(line.contains(words), "\(line)")
        #expect(!line.contains("hu"), "\(line)")
        #expect(error?.isTransient == false)
    }

    @Test("A service brings its host and port, and the string's own settings win")
    func service() throws {
        let text = """
            # The services of a site.
            [other]
            port=1
            [bridge]
            host=db.example.org
            port=6543
            port=7
            password=a=b
            [bridge]
            dbname=late
            """
        let settings = ServiceFile.settings(of: "bridge", in: text)
        #expect(settings == ["host": "db.example.org", "port": "6543", "password": "a=b"])
        #expect(ServiceFile.settings(of: "none", in: text) == nil)
    }

    @Test("An unknown service is named with the files that do not have it")
    func unknownService() {
        let files = ServiceFile.standard(["PGSERVICEFILE": "/nowhere/own", "PGSYSCONFDIR": "/nowhere"])
        #expect(files.paths == ["/nowhere/own", "/nowhere/pg_service.conf"])
        let error = #expect(throws: PostgresError.self) { try files.settings(of: "bridge") }
        #expect(error?.description.contains("/nowhere/own or /nowhere/pg_service.conf") == true)
    }
}
