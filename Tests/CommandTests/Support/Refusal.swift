import LocalPostgres
import PostgresTestSupport

/// A mistake of an operator, and what the program has to say about it.
struct Refusal: Sendable {
    /// The mistake, for the documentation.
    var mistake: String
    var command: [String]
    /// The environment variable with the connection string.
    var setting: String
    /// The connection string, which may have placeholders: `TCP` for a host and port, `SOCKET` for the Unix socket, `POOLER`
    /// for a pooler.
    var url: String
    var settings: [String: String] = [:]
    var status = 78
    /// Words of the cause and of the remedy, which the line must have.
    var words: [String]

    /// The password of every role of the tests, which no line may hold.
    static let password = "hush-hush"

    /// A mistake at `migrate up`.
    static func migrating(_ mistake: String, _ url: String, status: Int = 78, _ words: String...) -> Refusal {
        Refusal(
            mistake: mistake, command: ["migrate", "up"], setting: "DATABASE_MIGRATE_URL", url: url, status: status,
            words: words)
    }

    /// A mistake at `serve`.
    static func serving(_ mistake: String, _ url: String, _ words: String...) -> Refusal {
        Refusal(mistake: mistake, command: ["serve"], setting: "DATABASE_URL", url: url, words: words)
    }

    /// All mistakes, in the order of the documentation.
    static let all: [Refusal] =
        [
            .migrating(
                "no such database", "TCP dbname=nowhere user=owner password=hush-hush", "\"nowhere\" does not exist",
                "createdb --encoding UTF8"),
            .migrating(
                "wrong password", "TCP dbname=bridge user=owner password=hush-other",
                "password authentication failed for user \"owner\"", "ALTER ROLE"),
            .migrating("no password", "TCP dbname=bridge user=owner", "no password supplied", "PGPASSWORD"),
            .migrating("no such role", "SOCKET dbname=bridge user=nobody_here", "role \"nobody_here\" does not exist"),
            .migrating(
                "a role that may not sign in", "SOCKET dbname=bridge user=locked", "not permitted to log in", "LOGIN"),
            .migrating(
                "a role that may not enter the database", "SOCKET dbname=closed user=visitor",
                "permission denied for database", "GRANT CONNECT"),
            .migrating(
                "a server without TLS", "TCP dbname=bridge user=owner password=hush-hush sslmode=require",
                "server does not support SSL", "ssl = on"),
            .migrating(
                "encoding LATIN1", "SOCKET dbname=latin user=postgres", "the encoding LATIN1 and needs UTF8", "createdb"
            ),
            .migrating(
                "encoding SQL_ASCII", "SOCKET dbname=ascii user=postgres", "the encoding SQL_ASCII and needs UTF8"),
            .migrating(
                "the schema `app` of another program", "SOCKET dbname=taken user=postgres", "belongs to visitor"),
            .migrating(
                "a role without CREATEROLE, in a new cluster", "SOCKET dbname=owned user=visitor", "create role",
                "CREATEROLE"),
            .migrating(
                "a role that may create nothing in the database", "SOCKET dbname=bare user=maker",
                "permission denied for database", "GRANT CONNECT, CREATE"),
            .migrating(
                "nothing listens", "host=127.0.0.1 port=1 dbname=bridge", status: 1, "refused", "start PostgreSQL"),
            .migrating(
                "no such host", "host=host.invalid dbname=bridge", status: 1, "host.invalid", "correct the host"),
            .migrating(
                "an unknown service", "service=hidden", "names a service that is not in"),
            .migrating(
                "a URL for SQLAlchemy", "postgresql+asyncpg://owner:hush-hush@127.0.0.1/bridge", "write postgresql://"),
            .migrating(
                "a URL for Prisma", "postgresql://owner:hush-hush@127.0.0.1/bridge?schema=public",
                "the parameter schema of another program"),
            .migrating(
                "a password that is not percent-encoded", "postgresql://owner:hush@hush@127.0.0.1/bridge", "%40 for @"),
            .migrating(
                "roles that another role has made", "SOCKET dbname=second user=visitor", "admin option",
                "WITH ADMIN OPTION"),
            .migrating(
                "an address or user that PostgreSQL does not let in",
                "TCP dbname=bridge user=shut_out password=hush-hush", "pg_hba.conf rejects connection",
                "allow this connection in pg_hba.conf"),
            .serving(
                "the owner's role", "SOCKET dbname=bridge user=owner", "owns the schema", "use therapybridge_server"),
            .serving(
                "a role without the rights", "SOCKET dbname=bridge user=reader", "has not the rights of the server",
                "GRANT therapybridge_server TO reader"),
            .serving(
                "the schema is missing", "SOCKET dbname=bare user=visitor", "not applied", "therapybridge migrate up"),
            .serving("encoding SQL_ASCII", "SOCKET dbname=ascii user=visitor", "the encoding SQL_ASCII and needs UTF8"),
            .serving("the schema `app` of another program", "SOCKET dbname=taken user=visitor", "belongs to visitor"),
            .serving(
                "options that switch row-level security off",
                "SOCKET dbname=bridge user=therapybridge_server options='-c row_security=off'", "row_security = 'off'"),
            .serving(
                "options that forbid changes",
                "SOCKET dbname=bridge user=therapybridge_server options='-c default_transaction_read_only=on'",
                "default_transaction_read_only = 'on'"),
            Refusal(
                mistake: "a wrong password for the listener", command: ["serve"], setting: "DATABASE_LISTEN_URL",
                url: "TCP dbname=bridge user=therapybridge_server password=hush-other",
                settings: ["DATABASE_URL": "SOCKET dbname=bridge user=therapybridge_server"],
                words: ["password authentication failed"]),
        ]
        + (hasPooler
            ? [
                .serving(
                    "a pooler that no setting names", "POOLER dbname=bridge user=any", "startup parameter",
                    "DATABASE_POOLER=transaction"),
                .migrating("a pooler", "POOLER dbname=bridge user=any", "startup parameter", "name PostgreSQL itself"),
            ] : [])

    /// The statements that make the databases and roles, of which the last connect to a database.
    static let scene: [(database: String, statements: [String])] = [
        (
            "postgres",
            [
                "CREATE DATABASE latin ENCODING LATIN1 LOCALE 'C' TEMPLATE template0",
                "CREATE DATABASE ascii ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0",
                "CREATE ROLE visitor LOGIN PASSWORD '\(password)'", "CREATE ROLE locked NOLOGIN",
                "CREATE ROLE maker LOGIN CREATEROLE", "CREATE DATABASE bare", "CREATE DATABASE taken",
                "CREATE DATABASE closed", "REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
                "CREATE DATABASE owned OWNER visitor", "CREATE DATABASE second OWNER visitor",
                "CREATE ROLE shut_out LOGIN PASSWORD '\(password)'", shutOut, "SELECT pg_reload_conf()",
            ]
        ),
        ("taken", ["CREATE SCHEMA app AUTHORIZATION visitor"]),
    ]

    /// Puts a line before all others into pg_hba.conf.
    private static let shutOut = """
        DO $$ DECLARE
            -- COPY empties the file before its query runs.
            lines CONSTANT text := replace(pg_read_file(current_setting('hba_file')), chr(9), ' ');
        BEGIN
            EXECUTE format('COPY (SELECT unnest(ARRAY[%L] || string_to_array(%L, chr(10)))) TO %L',
                           'host all shut_out all reject', lines, current_setting('hba_file'));
        END $$
        """

    /// The statements after the migration of the database `bridge`.
    static let afterMigration = [
        "CREATE ROLE owner LOGIN PASSWORD '\(password)' IN ROLE therapybridge_owner", "CREATE ROLE reader LOGIN",
        "GRANT USAGE ON SCHEMA app TO reader", "GRANT SELECT ON ALL TABLES IN SCHEMA app TO reader",
    ]
}
