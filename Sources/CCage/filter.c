#define _GNU_SOURCE
#include "filter.h"

#include <linux/audit.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "The filter of system calls does not know this processor."
#endif

// Calls that no stage needs: they watch or change other processes, the kernel or its clocks, or make what the other layers
// of the cage do not know. Each fails with EPERM.
static const int forbidden[] = {
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, pidfd_getfd_number, process_madvise_number,
    process_mrelease_number, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, open_tree_number, move_mount_number,
    fsopen_number, fsconfig_number, fsmount_number, fspick_number, mount_setattr_number, open_tree_attr_number, SYS_setns,
    SYS_unshare, SYS_keyctl, SYS_add_key, SYS_request_key, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_init_module,
    SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_reboot, SYS_swapon, SYS_swapoff, SYS_quotactl,
    quotactl_fd_number, SYS_acct, SYS_syslog, SYS_settimeofday, SYS_clock_settime, SYS_clock_adjtime, SYS_adjtimex,
    SYS_sethostname, SYS_setdomainname, SYS_vhangup, SYS_open_by_handle_at, SYS_name_to_handle_at, SYS_fanotify_init,
    SYS_mq_open, SYS_mq_unlink, SYS_shmget, SYS_shmat, SYS_shmctl, SYS_semget, SYS_semop, SYS_semtimedop, SYS_semctl,
    SYS_msgget, SYS_msgsnd, SYS_msgrcv, SYS_msgctl, memfd_secret_number,
    SYS_lookup_dcookie, SYS_nfsservctl,
#if defined(__x86_64__)
    SYS_iopl, SYS_ioperm, SYS_kexec_file_load, SYS_uselib, SYS_ustat, SYS_sysfs, SYS_modify_ldt,
#endif
};

// Asynchronous input and output by shared rings: many faults of the kernel were there, and the rings are memory that no limit
// counts. Programs do without where the kernel lacks them: ENOSYS.
static const int rings[] = {
    SYS_io_setup, SYS_io_destroy, SYS_io_submit, SYS_io_cancel, SYS_io_getevents, SYS_io_pgetevents,
    io_uring_setup_number, io_uring_enter_number, io_uring_register_number,
};

// Calls that change how another process of the same Unix user runs. A stage with process numbers of its own cannot name one.
static const int others[] = {
    SYS_sched_setattr, SYS_sched_setscheduler, SYS_sched_setparam, SYS_sched_setaffinity, SYS_prlimit64, SYS_migrate_pages,
    SYS_move_pages,
};

static void forbid_namespaces(struct cage_filter *filter) {
    const unsigned new = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
        | CLONE_NEWCGROUP;
    only_for(filter, SYS_clone, 4);
    load(filter, ARGUMENT(0));
    if_any(filter, new, 0, 1);
    answer(filter, FAIL(EPERM));
    load(filter, WORD(nr));
    // The flags of clone3(2) are in memory, where a filter cannot look. The C library then uses clone(2).
    refuse(filter, clone3_number, FAIL(ENOSYS));
}

// Keeps a stage that can name processes outside its cage from changing how they run.
static void spare_others(struct cage_filter *filter) {
    for (size_t index = 0; index < sizeof others / sizeof *others; index++) {
        only_for(filter, others[index], 4);
        load(filter, ARGUMENT(0));
        if_equal(filter, 0, 1, 0);
        answer(filter, FAIL(EPERM));
        load(filter, WORD(nr));
    }
    // A process may lower its own priority: who is PRIO_PROCESS (0) and 0.
    only_for(filter, SYS_setpriority, 6);
    load(filter, ARGUMENT(0));
    if_equal(filter, PRIO_PROCESS, 0, 2);
    load(filter, ARGUMENT(1));
    if_equal(filter, 0, 1, 0);
    answer(filter, FAIL(EPERM));
    load(filter, WORD(nr));
    refuse(filter, SYS_ioprio_set, FAIL(EPERM));
}

// Answers calls of other processors' interfaces, which would name the same calls by other numbers.
static void check_interface(struct cage_filter *filter) {
    load(filter, WORD(arch));
    if_equal(filter, ARCHITECTURE, 1, 0);
    answer(filter, SECCOMP_RET_KILL_PROCESS);
    load(filter, WORD(nr));
#if defined(__x86_64__)
    // The numbers of x32 begin here.
    add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1));
    answer(filter, FAIL(ENOSYS));
#endif
}

int cage_enter_filter(const struct cage_filter_needs *needs) {
    struct cage_filter filter = {.count = 0};
    check_interface(&filter);
    for (size_t index = 0; index < sizeof forbidden / sizeof *forbidden; index++)
        refuse(&filter, forbidden[index], FAIL(EPERM));
    for (size_t index = 0; index < sizeof rings / sizeof *rings; index++) refuse(&filter, rings[index], FAIL(ENOSYS));
    // The pages of such a file are in no address space. The limit of memory would not bind a program that fills one.
    if (needs->has_memory_limit) refuse(&filter, SYS_memfd_create, FAIL(ENOSYS));
    forbid_namespaces(&filter);
    cage_limit_sockets(&filter, needs->has_network);
    cage_limit_files(&filter, needs->has_view, needs->landlock_version);
    if (!needs->has_own_processes) spare_others(&filter);
    // The parent-death signal of a stage stays as the launcher set it.
    only_for(&filter, SYS_prctl, 4);
    load(&filter, ARGUMENT(0));
    if_equal(&filter, PR_SET_PDEATHSIG, 0, 1);
    answer(&filter, FAIL(EPERM));
    load(&filter, WORD(nr));
    answer(&filter, SECCOMP_RET_ALLOW);
    if (filter.count > CAGE_LONGEST_FILTER) return E2BIG;
    struct sock_fprog program = {filter.count, filter.code};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0 ? 0 : errno;
}
