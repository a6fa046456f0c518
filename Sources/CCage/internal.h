// What the files of the launcher share.
#ifndef THERAPYBRIDGE_CCAGE_INTERNAL_H
#define THERAPYBRIDGE_CCAGE_INTERNAL_H

#include "CCage.h"

#include <stdbool.h>

struct cage_path {
    char kind;
    const char *path;
};

struct cage_plan {
    const char *program, *directory, *input;
    char **arguments, **environment;
    size_t argument_count, variable_count, path_count, group_count;
    struct cage_path *paths;
    gid_t *groups;
    uint64_t numbers[CAGE_NUMBERS];
};

// Which mechanisms are in force around the stage: bits 1 << CAGE_....
typedef uint64_t cage_mechanisms;

static inline bool cage_has(uint64_t set, int mechanism) { return (set >> mechanism) & 1; }

// Reads a plan from a descriptor. Returns 0 or an errno value.
int cage_read_plan(int descriptor, struct cage_plan *plan);

// Replaces the root directory by one that has the paths of the plan and nothing else. Needs a mount namespace of its own and
// the right to mount in it. `*has_proc` tells whether a /proc of the process namespace could be mounted. Returns 0 or an
// errno value; after an error the process must not go on.
int cage_enter_view(const struct cage_plan *plan, bool wants_proc, bool *has_proc);

// Restricts this process by Landlock to the paths of the plan, and to the file of `program` if that is not -1. `*version`
// receives the version of the interface that is used. Returns 0 or an errno value: EOPNOTSUPP or ENOSYS if the kernel has no
// Landlock.
int cage_enter_landlock(const struct cage_plan *plan, int program, bool has_view, bool has_proc, int *version);

// What decides which system calls a stage may make.
struct cage_filter_needs {
    bool has_network, has_view, has_own_processes, has_memory_limit;
    int landlock_version;  // 0: no Landlock.
};

// Forbids system calls. Returns 0 or an errno value.
int cage_enter_filter(const struct cage_filter_needs *needs);

// Sends a signal to every descendant of this process, however deep. Stops them first, so that none can start another.
void cage_signal_descendants(int signal);

// The files of /proc that tell about the machine and not about processes. The last one is NULL.
extern const char *const cage_machine_files[];

// The entry points.
int cage_launch(void);
int cage_inspect(int count, char *const arguments[]);

#endif
