import Cage
import Foundation
import TestSupport
import Testing

/// The list of system calls that no stage needs, and the marks of the processes of a cage.
@Suite("The kernel around a cage", .deadline) struct CageKernelTests {
    /// Calls whose arguments the kernel refuses before it looks at the rights of the caller.
    ///
    /// Its error is never EPERM. If a call of this list gives EPERM, the filter has answered.
    private static let telling: Set<String> = [
        "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "mount", "umount2", "chroot",
        "open_tree", "fsconfig", "mount_setattr", "setns", "unshare", "clone user", "clone mounts", "clone processes",
        "clone network", "clone queues", "clone names", "clone control groups", "keyctl", "add_key", "request_key",
        "perf_event_open", "userfaultfd", "name_to_handle_at", "mq_open", "mq_unlink", "shmget", "shmat", "shmctl",
        "semget", "semop", "semtimedop", "semctl", "msgget", "msgsnd", "msgrcv", "msgctl", "settimeofday",
    ]

    /// Calls that the kernel refuses to a user without rights, too: the error alone does not tell who has answered.
    private static let others: Set<String> = [
        "process_madvise", "process_mrelease", "pivot_root", "open_tree_attr", "move_mount", "fsopen", "fsmount",
        "fspick", "bpf", "init_module", "finit_module", "delete_module", "kexec_load", "reboot", "swapon", "swapoff",
        "quotactl", "quotactl_fd", "acct", "syslog", "clock_settime", "clock_adjtime", "adjtimex", "sethostname",
        "setdomainname", "vhangup", "open_by_handle_at", "fanotify_init", "lookup_dcookie", "nfsservctl",
    ]

    @Test("No stage makes a system call of the list", arguments: CageCase.all)
    func refusesCalls(each: CageCase) async throws {
        try await CageScene.with { scene in
            let run = try await each.cage.run(scene.inspector(["kernel", ""]))
            let outcomes = run.allOutcomes
            let missing = Self.telling.union(Self.others).subtracting(outcomes.keys)
            #expect(missing.isEmpty, "\(missing)")
            let passed = outcomes.filter { $0.key != "user" && $0.value != "EPERM" }
            #expect(passed.isEmpty, "\(passed)")
        }
    }

    /// Shows that the test above can fail.
    @Test("Without the filter, the kernel gives another answer to these calls")
    func tellsTheFilterApart() async throws {
        try await CageScene.with { scene in
            let caller: CageCase.Caller = geteuid() == 0 ? .root : .user
            let bare = CageCase(caller: caller, used: .all.subtracting([.seccomp, .landlock]))
            let run = try await bare.cage.run(scene.inspector(["kernel", ""]))
            let outcomes = run.allOutcomes
            let refused = Self.telling.filter { [nil, "EPERM"].contains(outcomes[$0]) }
            #expect(refused.isEmpty, "\(refused)")
        }
    }

    /// The number of a call means another call in another interface, and a filter cannot see arguments in memory.
    @Test("No stage uses the interfaces of x32 and 32 bits, or calls with arguments in memory", arguments: CageCase.all)
    func refusesInterfaces(each: CageCase) async throws {
        try await CageScene.with { scene in
            let run = try await each.cage.run(scene.inspector(["interfaces", ""]))
            let outcomes = run.allOutcomes
            #expect(outcomes["clone3"] == "ENOSYS", "\(run)")
            #expect(outcomes["openat2"] == "ENOSYS", "\(run)")
            #if arch(x86_64)
                #expect(outcomes["x32"] == "ENOSYS", "\(run)")
                // The signal of a filter that ends the process.
                #expect(outcomes["32 bits"] == "SYS", "\(run)")
            #endif
        }
    }

    @Test("No stage writes into the input of a terminal", arguments: CageCase.all)
    func refusesTerminals(each: CageCase) async throws {
        try await CageScene.with { scene in
            let outcomes = try await each.cage.run(scene.inspector(["terminal", ""])).allOutcomes
            // The input is no terminal: the kernel itself would answer ENOTTY.
            #expect(outcomes["input"] == "EPERM", "\(outcomes)")
            #expect(outcomes["selection"] == "EPERM", "\(outcomes)")
        }
    }

    @Test("No stage takes off the marks by which its worker finds it", arguments: CageCase.all)
    func keepsMarks(each: CageCase) async throws {
        try await CageScene.with { scene in
            let outcomes = try await each.cage.run(scene.inspector(["marks", ""])).allOutcomes
            #expect(outcomes["core"] == "EPERM", "\(outcomes)")
            #expect(outcomes["queues"] == "EPERM", "\(outcomes)")
            #expect(outcomes["privileges"] == "EINVAL", "\(outcomes)")
            #expect(outcomes["parent"] == "EPERM", "\(outcomes)")
        }
    }

    @Test("A stage has no capability, gains no privileges, and has a filter of system calls", arguments: CageCase.all)
    func hasNoRights(each: CageCase) async throws {
        try await CageScene.with { scene in
            let run = try await each.cage.run(
                scene.stage(#"grep -E '^(Cap|NoNewPrivs|Seccomp:)' < /proc/$$/status"#))
            let rows = run.output.split(separator: "\n").map { $0.split(separator: "\t").map(String.init) }
            let values = Dictionary(rows.map { ($0[0], $0.last ?? "") }) { first, _ in first }
            // Only a process with rights can empty its bounding set. Without privileges to gain, the set limits nothing.
            let isBounded = run.report.active[.userNamespace] != nil
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] + (isBounded ? ["CapBnd"] : []) {
                #expect(values["\(set):"] == "0000000000000000", "\(set): \(run)")
            }
            #expect(values["NoNewPrivs:"] == "1", "\(run)")
            // SECCOMP_MODE_FILTER.
            #expect(values["Seccomp:"] == "2", "\(run)")
        }
    }

    /// A program with the set-user-ID bit, left in a folder of `PIPELINE_STAGE_WRITES`, runs as the Unix user of the stage.
    @Test("No stage leaves a program with the set-user-ID bit", arguments: CageCase.all)
    func leavesNoSetUserID(each: CageCase) async throws {
        try await CageScene.with { scene in
            let run = try await each.cage.run(scene.inspector(["set-user-ID", scene.path("own")]))
            #expect(run.outcomes(of: "own file") == ["ok"], "\(run)")
            #expect(run.outcomes(of: "set-user-ID") == Array(repeating: "EPERM", count: 5), "\(run)")
            #expect(run.outcomes(of: "left") == ["ENOENT"], "\(run)")
        }
    }

    @Test("No stage changes the limits, the priority or the processors of another process", arguments: CageCase.all)
    func adjustsNobody(each: CageCase) async throws {
        try await CageScene.with { scene in
            // A process of the same Unix user as the stage. Between two users, the kernel itself refuses the calls.
            let witness = try await Witness(CageAccount(user: geteuid() == 0 ? 65_534 : geteuid(), group: 65_534))
            defer { witness.end() }
            let before = witness.settings
            let run = try await each.cage.run(scene.inspector(["adjust", "\(witness.number)"]))
            // A process namespace has no process of this number.
            let outcome = run.report.active[.processNamespace] != nil ? "ESRCH" : "EPERM"
            #expect(run.outcomes(of: "adjust") == Array(repeating: outcome, count: 5), "\(run)")
            #expect(before.contains("Max open files"))
            #expect(witness.settings == before)
        }
    }

    /// A watch would tell the names of new recordings.
    @Test("Without a view, no stage watches a folder", arguments: CageCase.all)
    func watchesNothing(each: CageCase) async throws {
        try await CageScene.with { scene in
            let run = try await each.cage.run(scene.inspector(["watch", scene.path("uploads")]))
            // The folder of a view has the stage's own recording and nothing else.
            let outcome = run.report.active[.mountNamespace] != nil ? "ok" : "EPERM"
            #expect(run.outcomes(of: "watch") == [outcome], "\(run)")
        }
    }
}
