#define _GNU_SOURCE
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Hands the reports of init and the stage on to the worker, and returns the wait status of the stage; -1 without one.
static int forward_reports(const struct launch *launch) {
    int status = -1;
    struct cage_report record;
    while (read(launch->reports[0], &record, sizeof record) == sizeof record) {
        if (record.what == CAGE_STATUS) status = record.detail;
        cage_report(CHANNEL, record.what, record.error, record.detail);
    }
    return status;
}

// Ends as the stage has ended.
static _Noreturn void end_as(int status) {
    if (WIFEXITED(status)) _exit(WEXITSTATUS(status));
    int number = status < 0 ? SIGKILL : WTERMSIG(status);
    sigset_t all;
    signal(number, SIG_DFL);
    sigfillset(&all);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
    raise(number);
    _exit(128 + number);
}

// Waits for the end of the stage, or of the worker, or for SIGTERM.
static _Noreturn void supervise(struct launch *launch, pid_t child, bool child_is_init) {
    struct pollfd waits[] = {{CHANNEL, POLLIN, 0}, {launch->signals, POLLIN, 0}};
    int64_t deadline = -1;
    bool is_killing = false, has_ended = false;
    int status = -1;
    uint64_t grace = launch->plan.numbers[CAGE_GRACE];
    for (;;) {
        int64_t left = deadline < 0 ? -1 : deadline - milliseconds();
        // A kill is repeated until nothing is left: a process may have been started in between.
        poll(waits, 2, is_killing ? 10 : left < 0 && deadline >= 0 ? 0 : (int)left);
        bool asked = false, has_children = true;
        char byte;
        // The worker sends nothing after the plan. The end of the channel means that the worker is gone, or wants an end.
        if (waits[0].revents != 0 && read(CHANNEL, &byte, 1) != 1) {
            is_killing = true;
            waits[0].fd = -1;
        }
        cage_drain_signals(launch->signals, &asked);
        if (asked && deadline < 0) {
            deadline = milliseconds() + (int64_t)(grace == CAGE_UNSET ? 0 : grace);
            if (child_is_init) {
                ssize_t written = write(launch->life[1], "t", 1);
                (void)written;
            } else {
                cage_signal_descendants(SIGTERM);
            }
        }
        if (deadline >= 0 && milliseconds() >= deadline) is_killing = true;
        if (cage_reap(child, &status, &has_children)) has_ended = is_killing = true;
        if (!has_children && has_ended) break;
        if (is_killing) {
            if (child_is_init && !has_ended) kill(child, SIGKILL);
            else if (!child_is_init) cage_signal_descendants(SIGKILL);
        }
    }
    int reported = forward_reports(launch);
    end_as(child_is_init ? (reported >= 0 || !WIFEXITED(status) ? reported : status) : status);
}

static void adjust_memory_killer(const char *score) { cage_write_file(AT_FDCWD, "/proc/self/oom_score_adj", score); }

// Opens the file of this program if a stage executes it, else returns -1.
//
// The account of the stages may be unable to reach it: a folder of root's, as /root is, is closed to others. It executes the
// open file then.
static int open_own_program(const char *path) {
    struct stat wanted, own;
    int program = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    if (program < 0) return -1;
    if (stat(path, &wanted) == 0 && fstat(program, &own) == 0 && wanted.st_dev == own.st_dev && wanted.st_ino == own.st_ino)
        return program;
    close(program);
    return -1;
}

int cage_launch(void) {
    struct launch launch;
    memset(&launch, 0, sizeof launch);
    for (int descriptor = 3; descriptor < 256; descriptor++) close(descriptor);
    signal(SIGPIPE, SIG_IGN);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_SETMASK, &signals, NULL);
    int error = cage_read_plan(CHANNEL, &launch.plan);
    if (error != 0) cage_give_up(CHANNEL, error, -1);
    launch.used = launch.plan.numbers[CAGE_USED];
    launch.program = open_own_program(launch.plan.program);
    launch.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (launch.signals < 0 || pipe2(launch.reports, O_CLOEXEC) != 0 || pipe2(launch.life, O_CLOEXEC) != 0)
        cage_give_up(CHANNEL, errno, -1);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) cage_give_up(CHANNEL, errno, -1);

    cage_enter_namespaces(&launch);
    bool child_is_init = cage_has(launch.active, CAGE_PROCESS_NAMESPACE);
    // When memory runs out, the kernel chooses the stage and not the worker.
    adjust_memory_killer("1000");
    int process = cage_open_process();
    pid_t child;
    if (child_is_init) {
        child = fork();
        if (child == 0) cage_be_init(&launch);
        cage_leave_root(&launch, CHANNEL, process);
    } else {
        cage_leave_root(&launch, CHANNEL, process);
        child = cage_start_stage(&launch);
    }
    close(process);
    if (child < 0) cage_give_up(CHANNEL, errno, -1);
    adjust_memory_killer("0");
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    close(1);
    close(2);
    close(launch.reports[1]);
    close(launch.life[0]);
    supervise(&launch, child, child_is_init);
}
