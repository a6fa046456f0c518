// What the files of one launch share: the launcher, init of its process namespace, and what both set up.
#ifndef THERAPYBRIDGE_CCAGE_LAUNCH_H
#define THERAPYBRIDGE_CCAGE_LAUNCH_H

#include "internal.h"

// The launcher's end of the channel to the worker.
#define CHANNEL 0

struct launch {
    struct cage_plan plan;
    uint64_t used;
    cage_mechanisms active;
    int reports[2];  // A pipe: from init and the stage to the launcher.
    int life[2];     // A pipe whose write end only the launcher has. Init ends with it.
    int signals;
    int program;     // The file of the stage's program if this program is it, or -1.
};

static inline bool uses(const struct launch *launch, int mechanism) { return cage_has(launch->used, mechanism); }

// Sends one record to the worker, or to the launcher on the way to it.
void cage_report(int descriptor, int what, int error, int detail);

// Ends this process, because the stage cannot start: a mechanism, or a step without one (-1), has failed half-way.
_Noreturn void cage_give_up(int descriptor, int error, int mechanism);

// Writes a text to a file below a folder, or by its whole path. Returns 0 or an errno value.
int cage_write_file(int folder, const char *path, const char *text);

// Collects every child that has ended. Returns true when `awaited` is among them.
bool cage_reap(pid_t awaited, int *status, bool *has_children);

// Reads the signals that have arrived. Sets `*is_asked_to_end` if one is not SIGCHLD.
void cage_drain_signals(int signals, bool *is_asked_to_end);

// Makes the namespaces. The next child is init of the process namespace.
//
// Root makes them with its own rights and changes its account afterwards. Any other user needs a user namespace to make
// the others in.
void cage_enter_namespaces(struct launch *launch);

// Makes the view of the file system, for init and the stage.
void cage_make_view(struct launch *launch, int descriptor);

// Changes the account, and makes the user namespace that counts the processes of this cage alone.
//
// `process` is the folder /proc/self of this process, opened before its view was made.
void cage_leave_root(struct launch *launch, int descriptor, int process);

// Opens /proc/self of this process. A view may have no /proc. Returns -1 if the host has none.
int cage_open_process(void);

// Starts the stage as a child of this process. Returns its number, or -1.
pid_t cage_start_stage(struct launch *launch);

// Is init of the process namespace: starts the stage and collects orphans. When init ends, the kernel kills the rest.
_Noreturn void cage_be_init(struct launch *launch);

#endif
