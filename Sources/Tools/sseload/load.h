// The streams, and what was counted.
#ifndef SSELOAD_LOAD_H
#define SSELOAD_LOAD_H

#include "options.h"
#include "requests.h"
#include "response.h"
#include "samples.h"

struct stream {
    enum {
        // The connection is being made.
        STREAM_CONNECTING,
        // The request is sent; nothing counts as open yet.
        STREAM_OPENING,
        STREAM_OPEN,
        // Refused, or ended.
        STREAM_CLOSED,
    } stage;
    int descriptor;
    bool is_slow;
    const struct request *request;
    struct response response;
    // When the connection was begun, by the clock that never jumps.
    double begun;
    // Events since the last report.
    long events;
    // When the last event was sent that counted for a latency: a server that repeats itself tells nothing new.
    uint64_t last_sent;
};

struct load {
    struct options options;
    struct requests requests;
    struct stream *streams;
    int epoll;

    // How the opening goes.
    int begun;
    int opened;
    // Answered with another status than 200 or with `event: unavailable`, or not answered before the connection ended.
    int refused;
    // The last status of a refusal; 0 when there was none.
    int refused_status;
    double opening_began;
    // When something was last heard of a stream that was not open yet.
    double opening_stirred;
    // How long each took to be open, in seconds.
    struct samples openings;
    // All are open, refused or given up. Only what is sent from now on gives a latency.
    bool is_open;
    double opened_at;
    uint64_t opened_at_microseconds;

    // What arrived since the last report.
    double report_began;
    double report_began_processor;
    long events;
    long heartbeats;
    long bytes;
    // Streams that were open and have ended.
    long ended;
    struct samples latencies;
};

// Seconds, by the clock that never jumps.
double clock_monotonic(void);

// Microseconds since 1970.
uint64_t clock_microseconds(void);

// Seconds of processor time that this process has used.
double clock_processor(void);

struct load *load_make(struct options options, struct requests requests);

// Begins connections as far as the options allow it now. Returns how many milliseconds to wait before the next call.
int load_begin(struct load *load);

// Waits until something happens on a stream or on standard input, for so many milliseconds at most, and takes in what
// happened on streams. Returns whether there is something to read on standard input.
bool load_wait(struct load *load, int milliseconds);

// Whether the opening is over: each stream is open or refused, or nothing has stirred for a long time.
bool load_settles(struct load *load);

// Prints how the opening went, and begins to measure.
void load_report_opening(struct load *load);

// Prints what arrived since the last report, and begins anew.
void load_report(struct load *load);

#endif
