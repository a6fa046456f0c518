// Starting a child process with what the Glibc overlay of Swift lacks: pipe2(2) and GNU's posix_spawn extensions.
#ifndef THERAPYBRIDGE_CSPAWN_H
#define THERAPYBRIDGE_CSPAWN_H

#include <sys/types.h>

// A pipe whose ends are closed on exec; 0, or an errno value.
int cspawn_pipe(int ends[2]);

// Starts arguments[0] in a session of its own, with default signals and no descriptor above 2.
//
// `input` becomes standard input, or /dev/null when it is negative; standard output and error are appended to
// `output_path`. Returns 0 and sets *child, or an errno value.
int cspawn_start(pid_t *child, char *const arguments[], char *const environment[], int input, const char *output_path);

#endif
