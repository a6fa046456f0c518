#define _GNU_SOURCE
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

int cage_open_process(void) { return open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC); }

// Makes user namespace and others at once, and maps this user and group to themselves.
//
// Returns an errno value if the kernel makes none. A namespace without a map is of no use, and there is no way back.
static int enter_user_namespace(int descriptor, int process, int others) {
    uid_t user = geteuid();
    gid_t group = getegid();
    // user_namespaces(7): a process that is not dumpable cannot write its own map.
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    if (unshare(CLONE_NEWUSER | others) != 0) return errno;
    char map[64];
    // The maps are opened now, and not earlier: an open file of /proc belongs to the namespace in which it was opened.
    snprintf(map, sizeof map, "%u %u 1\n", user, user);
    int error = cage_write_file(process, "uid_map", map);
    if (error == 0) error = cage_write_file(process, "setgroups", "deny");
    snprintf(map, sizeof map, "%u %u 1\n", group, group);
    if (error == 0) error = cage_write_file(process, "gid_map", map);
    if (error != 0) cage_give_up(descriptor, error, CAGE_USER_NAMESPACE);
    return 0;
}

// Notes whether a mechanism is in force. The stage checks at its end whether a required one is missing.
static void note(struct launch *launch, int descriptor, int mechanism, int error) {
    if (error == 0) launch->active |= 1ULL << mechanism;
    cage_report(descriptor, mechanism, error, 0);
}

static bool changes_account(const struct launch *launch) {
    return launch->plan.numbers[CAGE_USER] != CAGE_UNSET && geteuid() == 0;
}

// Enters the new namespaces of an ordinary user.
static int enter_as_user(struct launch *launch, int flags) {
    int process = cage_open_process();
    int error = enter_user_namespace(CHANNEL, process, flags);
    close(process);
    note(launch, CHANNEL, CAGE_USER_NAMESPACE, error);
    return error;
}

void cage_enter_namespaces(struct launch *launch) {
    int flags = 0;
    if (uses(launch, CAGE_PROCESS_NAMESPACE)) flags |= CLONE_NEWPID | CLONE_NEWIPC;
    if (uses(launch, CAGE_NETWORK_NAMESPACE) && launch->plan.numbers[CAGE_NETWORK] != 1) flags |= CLONE_NEWNET;
    int error = 0;
    if (changes_account(launch)) {
        if (flags != 0 && unshare(flags) != 0) error = errno;
    } else if (uses(launch, CAGE_USER_NAMESPACE)) {
        error = enter_as_user(launch, flags);
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

void cage_make_view(struct launch *launch, int descriptor) {
    if (!uses(launch, CAGE_MOUNT_NAMESPACE)) return;
    bool has_proc = false;
    int error = unshare(CLONE_NEWNS) != 0 ? errno : cage_enter_view(&launch->plan, uses(launch, CAGE_PROC), &has_proc);
    // The half of a view may be left.
    if (error != 0) cage_give_up(descriptor, error, CAGE_MOUNT_NAMESPACE);
    note(launch, descriptor, CAGE_MOUNT_NAMESPACE, 0);
    if (uses(launch, CAGE_PROC)) note(launch, descriptor, CAGE_PROC, has_proc ? 0 : EPERM);
}

// Changes to the user of the plan, for good.
static int change_account(const struct cage_plan *plan) {
    gid_t group = (gid_t)plan->numbers[CAGE_USER_GROUP];
    uid_t user = (uid_t)plan->numbers[CAGE_USER];
    if (setgroups(plan->group_count, plan->groups) != 0) return errno;
    if (setresgid(group, group, group) != 0 || setresuid(user, user, user) != 0) return errno;
    return 0;
}

void cage_leave_root(struct launch *launch, int descriptor, int process) {
    if (!changes_account(launch)) return;
    int error = change_account(&launch->plan);
    if (error != 0) cage_give_up(descriptor, error, CAGE_ACCOUNT);
    note(launch, descriptor, CAGE_ACCOUNT, 0);
    if (uses(launch, CAGE_USER_NAMESPACE))
        note(launch, descriptor, CAGE_USER_NAMESPACE, enter_user_namespace(descriptor, process, 0));
}
