// Starts a child process with calls that Swift's Glibc overlay lacks, such as GNU's extensions of posix_spawn.
#ifndef THERAPYBRIDGE_CSPAWN_H
#define THERAPYBRIDGE_CSPAWN_H

#include <sys/types.h>

// Makes a pair of connected sockets that are closed on exec. Returns 0 or an errno value.
int cspawn_channel(int ends[2]);

// Writes to one end. If the peer is gone, the call fails and raises no SIGPIPE, unlike a write to a pipe.
ssize_t cspawn_send(int end, const void *bytes, size_t count);

// Starts arguments[0] in a session of its own, with default signals and no descriptor above 2.
//
// `input` becomes standard input; if it is negative, /dev/null does. Standard output and error are appended to
// `output_path`. Returns 0 and sets *child, or returns an errno value.
int cspawn_start(pid_t *child, char *const arguments[], char *const environment[], int input, const char *output_path);

#endif
