// What Linux offers to keep the secrets of a process to itself, for Swift, which cannot call prctl(2): it is variadic.
#ifndef THERAPYBRIDGE_CPROCESS_H
#define THERAPYBRIDGE_CPROCESS_H

// Forbids core dumps and debuggers: prctl(2), PR_SET_DUMPABLE with 0. The files of the process in /proc then belong to root.
void cprocess_forbid_dumps(void);

// Overwrites the value of an environment variable where the kernel put it, and removes the variable. /proc/PID/environ shows
// that memory for as long as the process lives. No other thread may use the environment meanwhile.
void cprocess_wipe_variable(const char *name);

// Does the same, and sets the variable again in memory that /proc/PID/environ does not show. A missing variable stays missing.
// Returns false if there is no memory for the copy; the variable is then missing.
_Bool cprocess_move_variable(const char *name);

#endif
