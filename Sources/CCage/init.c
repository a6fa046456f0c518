#define _GNU_SOURCE
#include "launch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "stage.h"

pid_t cage_start_stage(struct launch *launch) {
    pid_t parent = getpid();
    pid_t stage = fork();
    if (stage != 0) return stage;
    cage_become_stage(&launch->plan, launch->used, launch->active, parent, launch->reports[1], launch->program);
}

_Noreturn void cage_be_init(struct launch *launch) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    close(CHANNEL);
    close(launch->reports[0]);
    close(launch->life[1]);
    int process = cage_open_process();
    cage_make_view(launch, launch->reports[1]);
    cage_leave_root(launch, launch->reports[1], process);
    close(process);
    // If the launcher is killed, the worker gets init as a child, and collects it by its marks.
    int error = cage_mark();
    if (error != 0) cage_give_up(launch->reports[1], error, -1);
    // A change of the user clears the parent-death signal: prctl(2).
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    pid_t stage = cage_start_stage(launch);
    if (stage < 0) cage_give_up(launch->reports[1], errno, -1);
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
        cage_drain_signals(launch->signals, &ignored);
        int status = 0;
        if (cage_reap(stage, &status, &has_children)) {
            cage_report(launch->reports[1], CAGE_STATUS, 0, status);
            _exit(0);
        }
    }
}
