#define _GNU_SOURCE
#include "stage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// The descriptors that execve(2) closes: the one on which the stage reports, and the file of its program.
#define REPORTS 3
#define PROGRAM 4

static void report(int what, int error, int detail) {
    struct cage_report record = {what, error, detail};
    ssize_t written = write(REPORTS, &record, sizeof record);
    (void)written;
}

// Lowers a limit. One that is already lower stays.
static int limit(int resource, uint64_t value) {
    if (value == CAGE_UNSET) return 0;
    struct rlimit present;
    if (getrlimit(resource, &present) != 0) return errno;
    if (present.rlim_max != RLIM_INFINITY && value > present.rlim_max) value = present.rlim_max;
    struct rlimit wanted = {value, value};
    return setrlimit(resource, &wanted) == 0 ? 0 : errno;
}

int cage_mark(void) {
    // No program of a stage uses message queues, and none may leave a core dump. With a limit of 0, the kernel still hands a dump
    // to a program that core_pattern names. It makes none at all for a limit of 1: "we use cprm.limit of 1 here as a special
    // value" (fs/coredump.c).
    int error = limit(RLIMIT_CORE, 1);
    if (error == 0) error = limit(RLIMIT_MSGQUEUE, 0);
    if (error == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) error = errno;
    return error;
}

static int take_budget(const struct cage_plan *plan, cage_mechanisms active) {
    const struct { int resource; uint64_t value; } limits[] = {
        {RLIMIT_CPU, plan->numbers[CAGE_PROCESSOR_SECONDS]},
        {RLIMIT_FSIZE, plan->numbers[CAGE_FILE_SIZE]},
        {RLIMIT_NOFILE, plan->numbers[CAGE_DESCRIPTORS]},
        {RLIMIT_STACK, plan->numbers[CAGE_STACK]},
        {RLIMIT_AS, plan->numbers[CAGE_ADDRESS_SPACE]},
        // Without a user namespace of its own, this would count all processes of the Unix user.
        {RLIMIT_NPROC, cage_has(active, CAGE_USER_NAMESPACE) ? plan->numbers[CAGE_PROCESSES] : CAGE_UNSET},
    };
    for (size_t index = 0; index < sizeof limits / sizeof *limits; index++) {
        int error = limit(limits[index].resource, limits[index].value);
        if (error != 0) return error;
    }
    return 0;
}

static int open_input(const char *path) {
    int file = open(path != NULL ? path : "/dev/null", O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (file < 0) return errno;
    // Init has closed its own standard input, and the file may have got its number.
    if (file == 0) return fcntl(file, F_SETFD, 0) == 0 ? 0 : errno;
    int error = dup2(file, 0) == 0 ? 0 : errno;
    close(file);
    return error;
}

// Gives up every capability, those that root would get back by executing a program included.
static int drop_capabilities(void) {
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    prctl(PR_SET_SECUREBITS,
        SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED
            | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
        0, 0, 0);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
    return syscall(SYS_capset, &header, none) == 0 ? 0 : errno;
}

static void close_from(int first) {
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, ~0U, 0) == 0) return;
#endif
    for (int descriptor = first; descriptor < 1024; descriptor++) close(descriptor);
}

// Returns a required mechanism that is not in force, or -1.
static int missing_mechanism(const struct cage_plan *plan, cage_mechanisms active) {
    uint64_t required = plan->numbers[CAGE_REQUIRED];
    for (int mechanism = 0; required != CAGE_UNSET && mechanism < CAGE_MECHANISMS; mechanism++)
        if (cage_has(required, mechanism) && !cage_has(active, mechanism)) return mechanism;
    return -1;
}

// Takes every step until the program can be executed. Returns an errno value, and in `*mechanism` which one failed, or -1.
static int prepare(
    const struct cage_plan *plan, uint64_t used, cage_mechanisms active, pid_t parent, int program, int *mechanism
) {
    *mechanism = -1;
    setsid();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return errno;
    // The parent may have died before the call.
    if (getppid() != parent) return ESRCH;
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    sigset_t signals;
    sigemptyset(&signals);
    sigprocmask(SIG_SETMASK, &signals, NULL);

    int error = open_input(plan->input);
    if (error == 0) error = take_budget(plan, active);
    if (error == 0 && chdir(plan->directory) != 0 && chdir("/") != 0) error = errno;
    umask(077);
    if (error == 0) error = cage_mark();
    if (error != 0) return error;

    struct cage_filter_needs needs = {
        .has_network = plan->numbers[CAGE_NETWORK] == 1,
        .has_view = cage_has(active, CAGE_MOUNT_NAMESPACE),
        .has_own_processes = cage_has(active, CAGE_PROCESS_NAMESPACE),
        .has_memory_limit = plan->numbers[CAGE_ADDRESS_SPACE] != CAGE_UNSET,
    };
    if (cage_has(used, CAGE_LANDLOCK)) {
        int version = 0;
        error = cage_enter_landlock(plan, program, needs.has_view, cage_has(active, CAGE_PROC), &version);
        report(CAGE_LANDLOCK, error, version);
        if (error == 0) active |= 1ULL << CAGE_LANDLOCK;
        if (error == 0) needs.landlock_version = version;
    }
    error = drop_capabilities();
    if (error != 0) return error;
    if (cage_has(used, CAGE_SECCOMP)) {
        error = cage_enter_filter(&needs);
        report(CAGE_SECCOMP, error, 0);
        if (error == 0) active |= 1ULL << CAGE_SECCOMP;
    }
    *mechanism = missing_mechanism(plan, active);
    return *mechanism >= 0 ? EPERM : 0;
}

_Noreturn void cage_become_stage(
    const struct cage_plan *plan, uint64_t used, cage_mechanisms active, pid_t parent, int reports, int program
) {
    // The numbers may be each other's.
    if (program >= 0 && (program = fcntl(program, F_DUPFD_CLOEXEC, PROGRAM + 1)) < 0) _exit(CAGE_NOT_STARTED);
    if (reports != REPORTS && dup3(reports, REPORTS, O_CLOEXEC) < 0) _exit(CAGE_NOT_STARTED);
    if (program >= 0 && (program = dup3(program, PROGRAM, O_CLOEXEC)) < 0) _exit(CAGE_NOT_STARTED);
    close_from(program >= 0 ? PROGRAM + 1 : REPORTS + 1);
    int mechanism;
    int error = prepare(plan, used, active, parent, program, &mechanism);
    if (error != 0) {
        report(CAGE_SETUP, error, mechanism);
    } else {
        if (program >= 0) syscall(SYS_execveat, program, "", plan->arguments, plan->environment, AT_EMPTY_PATH);
        else execve(plan->program, plan->arguments, plan->environment);
        report(CAGE_EXECUTION, errno, 0);
    }
    _exit(CAGE_NOT_STARTED);
}
