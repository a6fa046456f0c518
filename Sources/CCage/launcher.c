#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stage.h"

// The launcher's end of the channel to the worker.
#define CHANNEL 0

static void report(int descriptor, int what, int error, int detail) {
    struct cage_report record = {what, error, detail};
    ssize_t written = write(descriptor, &record, sizeof record);
    (void)written;
}

// Ends this process, because the stage cannot start: a mechanism, or a step without one (-1), has failed half-way.
static _Noreturn void give_up(int descriptor, int error, int mechanism) {
    report(descriptor, CAGE_SETUP, error, mechanism);
    _exit(CAGE_NOT_STARTED);
}

static int write_file(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return errno;
    int error = write(file, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : errno;
    close(file);
    return error;
}

// Makes user namespace and others at once, and maps this user and group to themselves.
//
// Returns an errno value if the kernel makes none. A namespace without a map is of no use, and there is no way back.
static int enter_user_namespace(int descriptor, int others) {
    uid_t user = geteuid();
    gid_t group = getegid();
    // user_namespaces(7): a process that is not dumpable cannot write its own map.
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    if (unshare(CLONE_NEWUSER | others) != 0) return errno;
    char map[64];
    snprintf(map, sizeof map, "%u %u 1\n", user, user);
    int error = write_file("/proc/self/uid_map", map);
    if (error == 0) error = write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "%u %u 1\n", group, group);
    if (error == 0) error = write_file("/proc/self/gid_map", map);
    if (error != 0) give_up(descriptor, error, CAGE_USER_NAMESPACE);
    return 0;
}

// Changes to the user of the plan, for good.
static int change_account(const struct cage_plan *plan) {
    gid_t group = (gid_t)plan->numbers[CAGE_USER_GROUP];
    uid_t user = (uid_t)plan->numbers[CAGE_USER];
    if (setgroups(plan->group_count, plan->groups) != 0) return errno;
    if (setresgid(group, group, group) != 0 || setresuid(user, user, user) != 0) return errno;
    return 0;
}

struct launch {
    struct cage_plan plan;
    uint64_t used;
    cage_mechanisms active;
    int reports[2];  // A pipe: from init and the stage to the launcher.
    int life[2];     // A pipe whose write end only the launcher has. Init ends with it.
    int signals;
};

// Notes whether a mechanism is in force. The stage checks at its end whether a required one is missing.
static void note(struct launch *launch, int descriptor, int mechanism, int error) {
    if (error == 0) launch->active |= 1ULL << mechanism;
    report(descriptor, mechanism, error, 0);
}

static bool uses(const struct launch *launch, int mechanism) { return cage_has(launch->used, mechanism); }

static bool changes_account(const struct launch *launch) {
    return launch->plan.numbers[CAGE_USER] != CAGE_UNSET && geteuid() == 0;
}

// Makes the namespaces. The next child is init of the process namespace.
//
// Root makes them with its own rights and changes its account afterwards. Any other user needs a user namespace to make
// the others in.
static void enter_namespaces(struct launch *launch) {
    int flags = 0;
    if (uses(launch, CAGE_PROCESS_NAMESPACE)) flags |= CLONE_NEWPID | CLONE_NEWIPC;
    if (uses(launch, CAGE_NETWORK_NAMESPACE) && launch->plan.numbers[CAGE_NETWORK] != 1) flags |= CLONE_NEWNET;
    int error = 0;
    if (changes_account(launch)) {
        if (flags != 0 && unshare(flags) != 0) error = errno;
    } else if (uses(launch, CAGE_USER_NAMESPACE)) {
        error = enter_user_namespace(CHANNEL, flags);
        note(launch, CHANNEL, CAGE_USER_NAMESPACE, error);
    } else {
        error = flags != 0 ? EPERM : 0;
    }
    const struct { int mechanism, flag; } made[] = {
        {CAGE_PROCESS_NAMESPACE, CLONE_NEWPID}, {CAGE_NETWORK_NAMESPACE, CLONE_NEWNET},
    };
    for (size_t index = 0; index < sizeof made / sizeof *made; index++)
        if (flags & made[index].flag) note(launch, CHANNEL, made[index].mechanism, error);
    // Init makes the mount namespace, and only init: the launcher needs the /proc of the host.
    if (uses(launch, CAGE_MOUNT_NAMESPACE) && !cage_has(launch->active, CAGE_PROCESS_NAMESPACE))
        note(launch, CHANNEL, CAGE_MOUNT_NAMESPACE, error != 0 ? error : EPERM);
}

// Makes the view of the file system, for init and the stage.
static void enter_view(struct launch *launch, int descriptor) {
    if (!uses(launch, CAGE_MOUNT_NAMESPACE)) return;
    bool has_proc = false;
    int error = unshare(CLONE_NEWNS) != 0 ? errno : cage_enter_view(&launch->plan, uses(launch, CAGE_PROC), &has_proc);
    // The half of a view may be left.
    if (error != 0) give_up(descriptor, error, CAGE_MOUNT_NAMESPACE);
    note(launch, descriptor, CAGE_MOUNT_NAMESPACE, 0);
    if (uses(launch, CAGE_PROC)) note(launch, descriptor, CAGE_PROC, has_proc ? 0 : EPERM);
}

// Changes the account, and makes the user namespace that counts the processes of this cage alone.
static void leave_root(struct launch *launch, int descriptor) {
    if (!changes_account(launch)) return;
    int error = change_account(&launch->plan);
    if (error != 0) give_up(descriptor, error, CAGE_ACCOUNT);
    note(launch, descriptor, CAGE_ACCOUNT, 0);
    if (uses(launch, CAGE_USER_NAMESPACE))
        note(launch, descriptor, CAGE_USER_NAMESPACE, enter_user_namespace(descriptor, 0));
}

static pid_t start_stage(struct launch *launch) {
    pid_t parent = getpid();
    pid_t stage = fork();
    if (stage != 0) return stage;
    cage_become_stage(&launch->plan, launch->used, launch->active, parent, launch->reports[1]);
}

// Collects every child that has ended. Returns true when `awaited` is among them.
static bool reap(pid_t awaited, int *status, bool *has_children) {
    bool ended = false;
    for (;;) {
        int ending;
        pid_t child = waitpid(-1, &ending, WNOHANG);
        if (child <= 0) {
            *has_children = child == 0;
            return ended;
        }
        if (child == awaited) {
            *status = ending;
            ended = true;
        }
    }
}

static void drain_signals(int signals, bool *is_asked_to_end) {
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof info) == sizeof info)
        if (info.ssi_signo != SIGCHLD) *is_asked_to_end = true;
}

// Init of the process namespace: starts the stage and collects orphans. When init ends, the kernel kills the rest.
static _Noreturn void be_init(struct launch *launch) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    close(CHANNEL);
    close(launch->reports[0]);
    close(launch->life[1]);
    enter_view(launch, launch->reports[1]);
    leave_root(launch, launch->reports[1]);
    // If the launcher is killed, the worker gets init as a child, and collects it by its marks.
    int error = cage_mark();
    if (error != 0) give_up(launch->reports[1], error, -1);
    // A change of the user clears the parent-death signal: prctl(2).
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    pid_t stage = start_stage(launch);
    if (stage < 0) give_up(launch->reports[1], errno, -1);
    // The outputs belong to the stage. A reader sees their end when the stage has closed them.
    close(1);
    close(2);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    struct pollfd waits[] = {{launch->life[0], POLLIN, 0}, {launch->signals, POLLIN, 0}};
    for (;;) {
        poll(waits, 2, -1);
        char order;
        // One byte asks for a polite end. The end of the pipe means that the launcher is gone.
        if (waits[0].revents != 0 && read(launch->life[0], &order, 1) != 1) _exit(CAGE_NOT_STARTED);
        if (waits[0].revents != 0) kill(-1, SIGTERM);
        bool ignored = false, has_children;
        drain_signals(launch->signals, &ignored);
        int status = 0;
        if (reap(stage, &status, &has_children)) {
            report(launch->reports[1], CAGE_STATUS, 0, status);
            _exit(0);
        }
    }
}

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
        report(CHANNEL, record.what, record.error, record.detail);
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
        drain_signals(launch->signals, &asked);
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
        if (reap(child, &status, &has_children)) has_ended = is_killing = true;
        if (!has_children && has_ended) break;
        if (is_killing) {
            if (child_is_init && !has_ended) kill(child, SIGKILL);
            else if (!child_is_init) cage_signal_descendants(SIGKILL);
        }
    }
    int reported = forward_reports(launch);
    end_as(child_is_init ? (reported >= 0 || !WIFEXITED(status) ? reported : status) : status);
}

static void adjust_memory_killer(const char *score) { write_file("/proc/self/oom_score_adj", score); }

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
    if (error != 0) give_up(CHANNEL, error, -1);
    launch.used = launch.plan.numbers[CAGE_USED];
    launch.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (launch.signals < 0 || pipe2(launch.reports, O_CLOEXEC) != 0 || pipe2(launch.life, O_CLOEXEC) != 0)
        give_up(CHANNEL, errno, -1);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) give_up(CHANNEL, errno, -1);

    enter_namespaces(&launch);
    bool child_is_init = cage_has(launch.active, CAGE_PROCESS_NAMESPACE);
    // When memory runs out, the kernel chooses the stage and not the worker.
    adjust_memory_killer("1000");
    pid_t child;
    if (child_is_init) {
        child = fork();
        if (child == 0) be_init(&launch);
        leave_root(&launch, CHANNEL);
    } else {
        leave_root(&launch, CHANNEL);
        child = start_stage(&launch);
    }
    if (child < 0) give_up(CHANNEL, errno, -1);
    adjust_memory_killer("0");
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    close(1);
    close(2);
    close(launch.reports[1]);
    close(launch.life[0]);
    supervise(&launch, child, child_is_init);
}
