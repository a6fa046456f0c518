#define _GNU_SOURCE
#include "attempts.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

// The numbers of newer calls are the same on all processors.
enum {
    OPEN_TREE = 428, MOVE_MOUNT = 429, FSOPEN = 430, FSCONFIG = 431, FSMOUNT = 432, FSPICK = 433, PIDFD_GETFD = 438,
    PROCESS_MADVISE = 440, MOUNT_SETATTR = 442, QUOTACTL_FD = 443, PROCESS_MRELEASE = 448, OPEN_TREE_ATTR = 467,
};

// No memory, no descriptor, no process, and all bits of a set of flags.
#define BAD (-1L)
#define KEY 0x7462
// A thread needs CLONE_SIGHAND: copy_process() refuses these flags before it looks at the rights of the caller.
#define NO_THREAD(flags) {(flags) | CLONE_THREAD, 0, 0, 0, 0, 0}

// Calls that no stage needs. Most have arguments that the kernel itself refuses before it looks at the rights of the caller, and with
// another error than EPERM: then EPERM shows that the filter has answered. None changes anything if it gets through.
static const struct { const char *name; long number, arguments[6]; } calls[] = {
    {"ptrace", SYS_ptrace, {PTRACE_ATTACH, BAD}},
    {"process_vm_readv", SYS_process_vm_readv, {BAD, 0, 0, 0, 0, 1}},
    {"process_vm_writev", SYS_process_vm_writev, {BAD, 0, 0, 0, 0, 1}},
    {"kcmp", SYS_kcmp, {BAD, BAD}},
    {"pidfd_getfd", PIDFD_GETFD, {BAD, 0, 1}},
    {"process_madvise", PROCESS_MADVISE, {BAD, 0, 0, 0, 1}},
    {"process_mrelease", PROCESS_MRELEASE, {BAD, 1}},
    {"mount", SYS_mount, {BAD, BAD, BAD, 0, 0}},
    {"umount2", SYS_umount2, {BAD, BAD}},
    {"pivot_root", SYS_pivot_root, {BAD, BAD}},
    {"chroot", SYS_chroot, {BAD}},
    {"open_tree", OPEN_TREE, {BAD, BAD, BAD}},
    {"open_tree_attr", OPEN_TREE_ATTR, {BAD, BAD, BAD}},
    {"move_mount", MOVE_MOUNT, {BAD, BAD, BAD, BAD, BAD}},
    {"fsopen", FSOPEN, {BAD, BAD}},
    {"fsconfig", FSCONFIG, {BAD, BAD}},
    {"fsmount", FSMOUNT, {BAD, BAD, BAD}},
    {"fspick", FSPICK, {BAD, BAD, BAD}},
    {"mount_setattr", MOUNT_SETATTR, {BAD, BAD, BAD, BAD, 0}},
    {"setns", SYS_setns, {BAD, 0}},
    {"unshare", SYS_unshare, {1}},
    {"clone user", SYS_clone, NO_THREAD(CLONE_NEWUSER)},
    {"clone mounts", SYS_clone, NO_THREAD(CLONE_NEWNS)},
    {"clone processes", SYS_clone, NO_THREAD(CLONE_NEWPID)},
    {"clone network", SYS_clone, NO_THREAD(CLONE_NEWNET)},
    {"clone queues", SYS_clone, NO_THREAD(CLONE_NEWIPC)},
    {"clone names", SYS_clone, NO_THREAD(CLONE_NEWUTS)},
    {"clone control groups", SYS_clone, NO_THREAD(CLONE_NEWCGROUP)},
    {"keyctl", SYS_keyctl, {BAD}},
    {"add_key", SYS_add_key, {BAD, BAD, 0, 0, 0}},
    {"request_key", SYS_request_key, {BAD, BAD, BAD, 0}},
    {"bpf", SYS_bpf, {0, BAD, 1 << 20}},
    {"perf_event_open", SYS_perf_event_open, {BAD, 0, -1, -1, BAD}},
    {"userfaultfd", SYS_userfaultfd, {BAD}},
    {"init_module", SYS_init_module, {BAD, 0, BAD}},
    {"finit_module", SYS_finit_module, {BAD, BAD, BAD}},
    {"delete_module", SYS_delete_module, {BAD, 0}},
    {"kexec_load", SYS_kexec_load, {0, 1 << 20, 0, BAD}},
    {"reboot", SYS_reboot, {0, 0, 0, 0}},
    {"swapon", SYS_swapon, {BAD, BAD}},
    {"swapoff", SYS_swapoff, {BAD}},
    {"quotactl", SYS_quotactl, {BAD, BAD, 0, 0}},
    {"quotactl_fd", QUOTACTL_FD, {BAD, BAD, 0, 0}},
    {"acct", SYS_acct, {BAD}},
    {"syslog", SYS_syslog, {BAD, 0, 0}},
    {"settimeofday", SYS_settimeofday, {BAD, 0}},
    {"clock_settime", SYS_clock_settime, {0, BAD}},
    {"clock_adjtime", SYS_clock_adjtime, {0, BAD}},
    {"adjtimex", SYS_adjtimex, {BAD}},
    {"sethostname", SYS_sethostname, {BAD, BAD}},
    {"setdomainname", SYS_setdomainname, {BAD, BAD}},
    {"vhangup", SYS_vhangup, {0}},
    {"open_by_handle_at", SYS_open_by_handle_at, {BAD, BAD, 0}},
    {"name_to_handle_at", SYS_name_to_handle_at, {BAD, BAD, BAD, BAD, BAD}},
    {"fanotify_init", SYS_fanotify_init, {BAD, 0}},
    {"mq_open", SYS_mq_open, {BAD, 0, 0, 0}},
    {"mq_unlink", SYS_mq_unlink, {BAD}},
    {"shmget", SYS_shmget, {KEY, 1, 0}},
    {"shmat", SYS_shmat, {BAD, 0, 0}},
    {"shmctl", SYS_shmctl, {BAD, 0, 0}},
    {"semget", SYS_semget, {KEY, 1, 0}},
    {"semop", SYS_semop, {BAD, BAD, 1}},
    {"semtimedop", SYS_semtimedop, {BAD, BAD, 1, 0}},
    {"semctl", SYS_semctl, {BAD, 0, 0, 0}},
    {"msgget", SYS_msgget, {KEY, 0}},
    {"msgsnd", SYS_msgsnd, {BAD, BAD, 0, 0}},
    {"msgrcv", SYS_msgrcv, {BAD, BAD, 0, 0, 0}},
    {"msgctl", SYS_msgctl, {BAD, 0, 0}},
    {"lookup_dcookie", SYS_lookup_dcookie, {0, 0, 0}},
    {"nfsservctl", SYS_nfsservctl, {0, 0, 0}},
#if defined(__x86_64__)
    {"iopl", SYS_iopl, {4}},
    {"ioperm", SYS_ioperm, {1 << 20, 1, 1}},
    {"kexec_file_load", SYS_kexec_file_load, {BAD, BAD, 0, 0, BAD}},
    {"uselib", SYS_uselib, {BAD}},
    {"ustat", SYS_ustat, {BAD, BAD}},
    {"sysfs", SYS_sysfs, {BAD, 0, 0}},
    {"modify_ldt", SYS_modify_ldt, {BAD, 0, 0}},
#endif
};

static void try_calls(void) {
    for (size_t index = 0; index < sizeof calls / sizeof *calls; index++) {
        const long *arguments = calls[index].arguments;
        long result = syscall(
            calls[index].number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
        cage_tell(calls[index].name, result >= 0);
    }
}

bool cage_try_kernel(const char *attempt, const char *value) {
    (void)value;
    if (strcmp(attempt, "kernel") != 0) return false;
    try_calls();
    return true;
}
