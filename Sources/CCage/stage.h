// The last steps of the launcher's child, before the program of the stage takes its place.
#ifndef THERAPYBRIDGE_CCAGE_STAGE_H
#define THERAPYBRIDGE_CCAGE_STAGE_H

#include "internal.h"

// Gives this process the marks by which the worker knows the processes of a cage: no new privileges, and hard limits of 1 or 0 for
// core dumps and message queues. No process can take them off. Returns 0 or an errno value.
int cage_mark(void);

// Takes the budgets and restrictions of the plan, and executes its program. Makes only calls that are safe after a fork.
// After a failure it reports the step, and ends. `program` is the open file of the program, or -1: then its path counts.
_Noreturn void cage_become_stage(
    const struct cage_plan *plan, uint64_t used, cage_mechanisms active, pid_t parent, int reports, int program);

#endif
