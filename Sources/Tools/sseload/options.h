// The command line of sseload.
#ifndef SSELOAD_OPTIONS_H
#define SSELOAD_OPTIONS_H

#include <netinet/in.h>
#include <stdbool.h>

struct options {
    // The server: an address of this machine.
    struct in_addr host;
    int port;
    // The file of targets.
    const char *targets;
    int streams;
    // The number of connections to begin per second; 0 for all at once.
    double rate;
    // The largest number of streams that are not open yet.
    int pending;
    // True if a stream counts as open with the head of its response, false if with its first event.
    bool opens_with_head;
    // The number of streams that stop reading after their first event.
    int slow;
    // The receive buffer of each socket in bytes; 0 for the system's default.
    int receive_buffer;
    // The time in seconds to measure once all streams are open; negative to measure until standard input ends.
    double seconds;
};

// Reads the command line. If it is wrong, prints the error and ends the program with status 64.
struct options options_read(int count, char **arguments);

#endif
