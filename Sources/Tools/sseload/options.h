// What sseload was asked to do.
#ifndef SSELOAD_OPTIONS_H
#define SSELOAD_OPTIONS_H

#include <netinet/in.h>
#include <stdbool.h>

struct options {
    // The server; an address of this machine alone.
    struct in_addr host;
    int port;
    // The file that names what is asked for.
    const char *targets;
    int streams;
    // How many connections are begun in a second; 0 for all at once.
    double rate;
    // How many streams may be on their way to being open.
    int pending;
    // A stream counts as open with the head of its response, not only with its first event.
    bool opens_with_head;
    // How many streams stop reading after their first event.
    int slow;
    // The receive buffer of each socket in bytes; 0 for the system's own choice.
    int receive_buffer;
    // How long to measure once all streams are open; negative: until standard input ends.
    double seconds;
};

// Reads the command line; ends the program with status 64, and says why, when it is wrong.
struct options options_read(int count, char **arguments);

#endif
