#define _GNU_SOURCE
#include "attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLONE3 435
#define OPENAT2 437

#if defined(__x86_64__)
// Makes a call by the interface of 32 bits, in which getpid(2) is number 20. Another interface has other numbers: a filter that does
// not check it would let the calls of its list through.
static _Noreturn void call_by_32_bits(void) {
    long result = 20;
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    _exit(result > 0 ? 0 : 1);
}
#endif

// Prints what came of a call by the interface of 32 bits: "ok", "exit", or the name of the signal that ended the process.
static void try_32_bits(void) {
#if defined(__x86_64__)
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) call_by_32_bits();
    int status = 0;
    waitpid(child, &status, 0);
    const char *outcome = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : WEXITSTATUS(status) == 0 ? "ok" : "exit";
    printf("32 bits\t%s\n", outcome);
#endif
}

// Makes calls whose arguments or numbers a filter cannot judge.
static void try_interfaces(const char *unused) {
    (void)unused;
#if defined(__x86_64__)
    cage_tell("x32", syscall(0x40000000L | SYS_getpid) >= 0);
#endif
    try_32_bits();
    // No memory and no size: the kernel itself answers EINVAL.
    cage_tell("clone3", syscall(CLONE3, 0, 0) >= 0);
    cage_tell("openat2", syscall(OPENAT2, AT_FDCWD, 0, 0, 0) >= 0);
}

// Writes into the input of a terminal. A descriptor that is no terminal gives ENOTTY.
static void try_terminal(const char *unused) {
    (void)unused;
    cage_tell("input", ioctl(0, TIOCSTI, "x") == 0);
    cage_tell("selection", ioctl(0, TIOCLINUX, "x") == 0);
}

// Takes off the marks by which the worker knows the processes of a cage, and the tie to the launcher.
static void try_marks(const char *unused) {
    (void)unused;
    const struct rlimit more = {1 << 20, 1 << 20};
    cage_tell("core", setrlimit(RLIMIT_CORE, &more) == 0);
    cage_tell("queues", setrlimit(RLIMIT_MSGQUEUE, &more) == 0);
    cage_tell("privileges", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
    cage_tell("parent", prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) == 0);
}

// Leaves programs that would run as the Unix user of the stage, started by any other user.
static void try_set_user_id(const char *folder) {
    char name[4096];
    snprintf(name, sizeof name, "%s/program", folder);
    int file = open(name, O_WRONLY | O_CREAT | O_EXCL, 0700);
    cage_tell("own file", file >= 0);
    cage_tell("set-user-ID", fchmod(file, 04700) == 0);
    cage_tell("set-user-ID", chmod(name, 04700) == 0);
    cage_tell("set-user-ID", fchmodat(AT_FDCWD, name, 02700, 0) == 0);
    if (file >= 0) close(file);
    unlink(name);
    cage_tell("set-user-ID", open(name, O_WRONLY | O_CREAT | O_EXCL, 04700) >= 0);
    cage_tell("set-user-ID", mknod(name, S_IFREG | 04700, 0) == 0);
    struct stat status;
    cage_tell("left", stat(name, &status) == 0);
}

// Changes how another process runs.
static void try_to_adjust(const char *process) {
    pid_t number = (pid_t)atoi(process);
    const struct rlimit fewer = {8, 8};
    cage_tell("adjust", prlimit(number, RLIMIT_NOFILE, &fewer, NULL) == 0);
    cage_tell("adjust", setpriority(PRIO_PROCESS, (id_t)number, 19) == 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    cage_tell("adjust", sched_setaffinity(number, sizeof one, &one) == 0);
    const struct sched_param none = {0};
    cage_tell("adjust", sched_setscheduler(number, SCHED_IDLE, &none) == 0);
    // The class of idle processes, which wait for all others.
    cage_tell("adjust", syscall(SYS_ioprio_set, 1, number, 3 << 13) == 0);
}

static void try_to_watch(const char *folder) {
    int watch = inotify_init1(IN_CLOEXEC);
    cage_tell("watch", watch >= 0 && inotify_add_watch(watch, folder, IN_CREATE) >= 0);
}

bool cage_try_process(const char *attempt, const char *value) {
    const struct { const char *name; void (*make)(const char *); } attempts[] = {
        {"interfaces", try_interfaces}, {"terminal", try_terminal}, {"marks", try_marks},
        {"set-user-ID", try_set_user_id}, {"adjust", try_to_adjust}, {"watch", try_to_watch},
    };
    for (size_t index = 0; index < sizeof attempts / sizeof *attempts; index++) {
        if (strcmp(attempt, attempts[index].name) != 0) continue;
        attempts[index].make(value);
        return true;
    }
    return false;
}
