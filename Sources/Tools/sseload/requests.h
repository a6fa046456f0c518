// The requests that open streams.
#ifndef SSELOAD_REQUESTS_H
#define SSELOAD_REQUESTS_H

#include <stddef.h>

struct request {
    char *bytes;
    size_t length;
};

struct requests {
    struct request *all;
    size_t count;
};

// Reads a file of targets, one request a line: "PATH<TAB>Header: value<TAB>...".
//
// If the file cannot be read or has no target, prints the error and ends the program.
struct requests requests_read(const char *path, int port);

#endif
