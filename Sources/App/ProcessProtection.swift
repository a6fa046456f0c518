import CProcess

/// Keeps the secrets of this process from other processes of the same Unix user.
public enum ProcessProtection {
    /// The settings that hold a secret.
    static let secrets = [
        "JWT_SECRET", "JWT_PREVIOUS_SECRETS", "DATABASE_URL", "DATABASE_LISTEN_URL", "DATABASE_MIGRATE_URL",
    ]

    /// Forbids core dumps and debuggers.
    ///
    /// A core dump would hold the keys and the words of patients. prctl(2), PR_SET_DUMPABLE: "Processes that are not
    /// dumpable can not be attached via ptrace(2) PTRACE_ATTACH", except by root. `serve` and `work` call this first.
    public static func forbidDumps() { cprocess_forbid_dumps() }

    /// Removes the secrets from the environment, after the settings were read and before anything is spawned.
    ///
    /// The kernel shows the first environment of a process in `/proc/PID/environ`. The bytes there are overwritten.
    /// libpq reads `PGPASSWORD` at each connection. That variable therefore moves to memory that the kernel does not
    /// show.
    public static func wipeSecrets() {
        for name in secrets { cprocess_wipe_variable(name) }
        _ = cprocess_move_variable("PGPASSWORD")
    }
}
