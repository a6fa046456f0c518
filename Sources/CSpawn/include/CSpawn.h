// Starting a child process with what the Glibc overlay of Swift lacks, such as GNU's posix_spawn extensions.
#ifndef THERAPYBRIDGE_CSPAWN_H
#define THERAPYBRIDGE_CSPAWN_H

#include <sys/types.h>

// A pair of connected sockets, closed on exec; 0, or an errno value.
int cspawn_channel(int ends[2]);

// Writes to one end; a peer that is gone is an error and raises no SIGPIPE, which writing to a pipe would.
ssize_t cspawn_send(int end, const void *bytes, size_t count);

// Starts arguments[0] in a session of its own, with default signals and no descriptor above 2.
//
// `input` becomes standard input, or /dev/null when it is negative; standard output and error are appended to
// `output_path`. Returns 0 and sets *child, or an errno value.
int cspawn_start(pid_t *child, char *const arguments[], char *const environment[], int input, const char *output_path);

#endif
