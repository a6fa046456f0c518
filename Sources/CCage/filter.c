#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "The filter of system calls does not know this processor."
#endif

// The numbers of newer calls are the same on all processors.
enum {
    io_uring_setup_number = 425, io_uring_enter_number = 426, io_uring_register_number = 427, open_tree_number = 428,
    move_mount_number = 429, fsopen_number = 430, fsconfig_number = 431, fsmount_number = 432, fspick_number = 433,
    clone3_number = 435, openat2_number = 437, pidfd_getfd_number = 438, process_madvise_number = 440, mount_setattr_number = 442,
    quotactl_fd_number = 443, process_mrelease_number = 448, fchmodat2_number = 452, setxattrat_number = 463,
    removexattrat_number = 466, open_tree_attr_number = 467, file_setattr_number = 469,
};

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
    io_uring_setup_number, io_uring_enter_number, io_uring_register_number, SYS_mq_open, SYS_mq_unlink, SYS_shmget,
    SYS_shmat, SYS_shmctl, SYS_semget, SYS_semop, SYS_semctl, SYS_msgget, SYS_msgsnd, SYS_msgrcv, SYS_msgctl,
    SYS_lookup_dcookie, SYS_nfsservctl,
#if defined(__x86_64__)
    SYS_iopl, SYS_ioperm, SYS_kexec_file_load, SYS_uselib, SYS_ustat, SYS_sysfs, SYS_modify_ldt,
#endif
};

// Calls that change the mode, owner, times or attributes of a file by its path. Landlock does not know them. Where the stage
// shares the real file system, they succeed and do nothing: programs such as cp -p would otherwise stop.
static const int attributes[] = {
    SYS_fchmodat, fchmodat2_number, SYS_fchownat, SYS_utimensat, SYS_setxattr, SYS_lsetxattr, SYS_removexattr,
    SYS_lremovexattr, setxattrat_number, removexattrat_number, file_setattr_number,
#if defined(__x86_64__)
    SYS_chmod, SYS_chown, SYS_lchown, SYS_utime, SYS_utimes, SYS_futimesat,
#endif
};

// Calls that change how another process of the same Unix user runs. A stage with process numbers of its own cannot name one.
static const int others[] = {
    SYS_sched_setattr, SYS_sched_setscheduler, SYS_sched_setparam, SYS_sched_setaffinity, SYS_prlimit64, SYS_migrate_pages,
    SYS_move_pages,
};

#define LONGEST 400
#define WORD(field) offsetof(struct seccomp_data, field)
// The low half of an argument, on a little-endian processor.
#define ARGUMENT(index) (WORD(args) + 8 * (index))
#define FAIL(number) (SECCOMP_RET_ERRNO | (number))

struct program {
    struct sock_filter code[LONGEST];
    unsigned short count;
};

static void add(struct program *program, struct sock_filter instruction) {
    if (program->count < LONGEST) program->code[program->count] = instruction;
    program->count++;
}

static void load(struct program *program, unsigned offset) {
    add(program, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
}

static void answer(struct program *program, unsigned action) {
    add(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

// Answers a call by its number alone. The number is in the accumulator.
static void refuse(struct program *program, int number, unsigned action) {
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1));
    answer(program, action);
}

// Skips the next `count` instructions unless the call has this number.
static void only_for(struct program *program, int number, unsigned char count) {
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, count));
}

static void forbid_namespaces(struct program *program) {
    const unsigned new = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
        | CLONE_NEWCGROUP;
    only_for(program, SYS_clone, 4);
    load(program, ARGUMENT(0));
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, new, 0, 1));
    answer(program, FAIL(EPERM));
    load(program, WORD(nr));
    // The flags of clone3(2) are in memory, where a filter cannot look. The C library then uses clone(2).
    refuse(program, clone3_number, FAIL(ENOSYS));
}

// Refuses a mode with the bits that let a program run as another user or group: a stage runs as the worker's user, and could
// leave such a program in a folder of PIPELINE_STAGE_WRITES.
static void forbid_set_user_id(struct program *program, int number, int mode) {
    only_for(program, number, 4);
    load(program, ARGUMENT(mode));
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, S_ISUID | S_ISGID, 0, 1));
    answer(program, FAIL(EPERM));
    load(program, WORD(nr));
}

// Does the same for calls whose mode means something only with O_CREAT.
static void forbid_opening_set_user_id(struct program *program, int number, int flags) {
    only_for(program, number, 6);
    load(program, ARGUMENT(flags));
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_CREAT, 0, 3));
    load(program, ARGUMENT(flags + 1));
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, S_ISUID | S_ISGID, 0, 1));
    answer(program, FAIL(EPERM));
    load(program, WORD(nr));
}

static void forbid_modes(struct program *program) {
    forbid_set_user_id(program, SYS_fchmod, 1);
    forbid_set_user_id(program, SYS_fchmodat, 2);
    forbid_set_user_id(program, fchmodat2_number, 2);
    forbid_set_user_id(program, SYS_mknodat, 2);
    forbid_opening_set_user_id(program, SYS_openat, 2);
#if defined(__x86_64__)
    forbid_set_user_id(program, SYS_chmod, 1);
    forbid_set_user_id(program, SYS_creat, 1);
    forbid_set_user_id(program, SYS_mknod, 1);
    forbid_opening_set_user_id(program, SYS_open, 1);
#endif
    // Its mode is in memory, where a filter cannot look. Programs then use openat(2).
    refuse(program, openat2_number, FAIL(ENOSYS));
}

static void limit_sockets(struct program *program, bool network) {
    if (network) {
        // No socket of the Unix domain: Landlock before version 9 does not check them, and one leads to PostgreSQL. Netlink's
        // routes tell the resolver which addresses the machine has.
        only_for(program, SYS_socket, 6);
        load(program, ARGUMENT(0));
        add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 3, 0));
        add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 2, 0));
        add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 1, 0));
        answer(program, FAIL(EACCES));
        load(program, WORD(nr));
    } else {
        refuse(program, SYS_socket, FAIL(EACCES));
    }
    // A pair is connected and leads nowhere else, except one of datagrams: each of them may name another receiver.
    only_for(program, SYS_socketpair, 5);
    load(program, ARGUMENT(1));
    add(program, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xf));
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOCK_DGRAM, 0, 1));
    answer(program, FAIL(EACCES));
    load(program, WORD(nr));
}

int cage_enter_filter(bool network, bool has_view, bool has_own_processes) {
    struct program program = {.count = 0};
    load(&program, WORD(arch));
    add(&program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0));
    answer(&program, SECCOMP_RET_KILL_PROCESS);
    load(&program, WORD(nr));
#if defined(__x86_64__)
    // The numbers of x32 begin here. They would name the same calls by other numbers.
    add(&program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1));
    answer(&program, FAIL(ENOSYS));
#endif
    for (size_t index = 0; index < sizeof forbidden / sizeof *forbidden; index++)
        refuse(&program, forbidden[index], FAIL(EPERM));
    forbid_namespaces(&program);
    forbid_modes(&program);
    limit_sockets(&program, network);
    if (!has_view) {
        for (size_t index = 0; index < sizeof attributes / sizeof *attributes; index++)
            refuse(&program, attributes[index], FAIL(0));
        // A watch would tell the names of new recordings.
        refuse(&program, SYS_inotify_add_watch, FAIL(EPERM));
    }
    if (!has_own_processes) {
        for (size_t index = 0; index < sizeof others / sizeof *others; index++) {
            only_for(&program, others[index], 4);
            load(&program, ARGUMENT(0));
            add(&program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0));
            answer(&program, FAIL(EPERM));
            load(&program, WORD(nr));
        }
        // A process may lower its own priority: who is PRIO_PROCESS (0) and 0.
        only_for(&program, SYS_setpriority, 6);
        load(&program, ARGUMENT(0));
        add(&program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PRIO_PROCESS, 0, 2));
        load(&program, ARGUMENT(1));
        add(&program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0));
        answer(&program, FAIL(EPERM));
        load(&program, WORD(nr));
        refuse(&program, SYS_ioprio_set, FAIL(EPERM));
    }
    // The parent-death signal of a stage stays as the launcher set it. The terminal of a stage is nobody's.
    only_for(&program, SYS_prctl, 4);
    load(&program, ARGUMENT(0));
    add(&program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_PDEATHSIG, 0, 1));
    answer(&program, FAIL(EPERM));
    load(&program, WORD(nr));
    only_for(&program, SYS_ioctl, 5);
    load(&program, ARGUMENT(1));
    add(&program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x5412 /* TIOCSTI */, 1, 0));
    add(&program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x541c /* TIOCLINUX */, 0, 1));
    answer(&program, FAIL(EPERM));
    load(&program, WORD(nr));
    answer(&program, SECCOMP_RET_ALLOW);
    if (program.count > LONGEST) return E2BIG;
    struct sock_fprog filter = {program.count, program.code};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0 ? 0 : errno;
}
