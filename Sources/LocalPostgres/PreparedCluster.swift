import FoundationEssentials
import Glibc
import TextForms

/// A cluster on disk, and the command that runs its server.
struct PreparedCluster {
    let installation: Installation
    let layout: ClusterLayout
    let port: Int
    let listensOnLoopback: Bool
    let password: String
    let commandLine: [String]

    /// Runs the server, and stops it when standard input has a line or ends.
    ///
    /// The arguments are the command of the server. A line names the mode of the stop. The watcher is a process of its
    /// own. The supervisor can therefore wait for the server, and notices at once when it ends by itself.
    private static let supervisorScript = """
        exec 3<&0
        "$@" </dev/null 3<&- &
        server=$!
        (
            trap '' HUP INT TERM
            while read -r mode <&3; do
                case $mode in
                    immediate) kill -QUIT $server ;;
                    smart) kill -TERM $server ;;
                    *) kill -INT $server ;;
                esac
            done
            kill -INT $server
            sleep 20
            kill -QUIT $server
        ) >/dev/null 2>&1 &
        watcher=$!
        exec 3<&-
        wait $server
        status=$?
        kill -KILL $watcher 2>/dev/null
        exit $status
        """

    static func prepare(
        directory: String,
        settings: [String: String],
        fsync: Bool,
        listensOnLoopback: Bool
    ) async throws -> PreparedCluster {
        let installation = try Installation.find()
        let account = try ServerAccount.current()
        let layout = try ClusterLayout.make(directory: directory, account: account)
        let prefix = account.prefix(toReach: layout.data)
        if !layout.hasCluster {
            try await initialise(layout, installation: installation, account: account, prefix: prefix, fsync: fsync)
        }
        guard let password = try? String(contentsOfFile: layout.passwordFile, encoding: .utf8) else {
            throw LocalPostgresError(.directory, "cannot read \(layout.passwordFile); was the cluster made elsewhere?")
        }
        let port = listensOnLoopback ? try freePort() : 5432
        var all = [
            "listen_addresses": listensOnLoopback ? "127.0.0.1" : "",
            "unix_socket_directories": layout.socketDirectory,
            "unix_socket_permissions": "0700",
            "port": "\(port)",
            "logging_collector": "off",
            "log_destination": "stderr",
            "log_timezone": "UTC",
            "timezone": "UTC",
        ]
        if !fsync {
            all.merge(["fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"]) { $1 }
        }
        all.merge(settings) { $1 }
        let server =
            [installation.path(of: "postgres"), "-D", layout.data]
            + all.sorted { $0.key < $1.key }.flatMap { ["-c", "\($0.key)=\($0.value)"] }
        return PreparedCluster(
            installation: installation,
            layout: layout,
            port: port,
            listensOnLoopback: listensOnLoopback,
            password: password.trimmedOfLines,
            commandLine: prefix + ["/bin/sh", "-c", supervisorScript, "supervisor"] + server
        )
    }

    /// Makes the cluster in a temporary directory, and renames that at the end.
    private static func initialise(
        _ layout: ClusterLayout,
        installation: Installation,
        account: ServerAccount,
        prefix: [String],
        fsync: Bool
    ) async throws {
        try? FileManager.default.removeItem(atPath: layout.unfinishedData)
        try account.makePrivateDirectory(layout.unfinishedData)
        let password = (0..<4).map { _ in String(UInt64.random(in: .min ... .max), radix: 36) }.joined()
        try account.writeSecret(password + "\n", to: layout.passwordFile)

        let command =
            prefix + [
                installation.path(of: "initdb"), "--pgdata", layout.unfinishedData, "--username", "postgres",
                "--encoding", "UTF8", "--locale", "C.UTF-8", "--auth-local", "trust", "--auth-host", "scram-sha-256",
                "--pwfile", layout.passwordFile, "--no-instructions",
            ] + (fsync ? [] : ["--no-sync"])
        let child = try ChildProcess.start(
            command, environment: serverEnvironment(), outputPath: layout.logFile, holdsInput: false)
        guard await child.waitForExit(timeout: .seconds(300)) == 0 else {
            throw LocalPostgresError(.initialisation, "initdb failed:\n\(layout.endOfLog())")
        }
        guard unsafe rename(layout.unfinishedData, layout.data) == 0 else {
            throw LocalPostgresError(.directory, "cannot move the new cluster to \(layout.data): \(reason(errno))")
        }
    }
}
