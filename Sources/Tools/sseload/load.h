// The streams, and the counts of their events.
#ifndef SSELOAD_LOAD_H
#define SSELOAD_LOAD_H

#include "options.h"
#include "requests.h"
#include "response.h"
#include "samples.h"

struct stream {
    enum {
        // The connection is under way.
        STREAM_CONNECTING,
        // The request is sent. The stream does not count as open yet.
        STREAM_OPENING,
        STREAM_OPEN,
        // The server refused the stream, or the stream ended.
        STREAM_CLOSED,
    } stage;
    int descriptor;
    bool is_slow;
    const struct request *request;
    struct response response;
    // When the connection began, by the monotonic clock.
    double begun;
    // Events since the last report.
    long events;
    // The time in the last event that gave a latency. A server that repeats an event gives no new latency.
    uint64_t last_sent;
};

// The arrival of `event: revoked`.
struct revocation {
    // The index of the stream, from 0. Stream n has the request n modulo the number of targets.
    int stream;
    // In microseconds since 1970.
    uint64_t at;
};

struct load {
    struct options options;
    struct requests requests;
    struct stream *streams;
    int epoll;

    // The progress of the opening.
    int begun;
    int opened;
    // The answer had another status than 200 or was `event: unavailable`, or the connection ended without an answer.
    int refused;
    // The status of the last refusal; 0 without any.
    int refused_status;
    double opening_began;
    // When a stream that was not open last made progress.
    double opening_stirred;
    // The time in seconds until each stream was open.
    struct samples openings;
    // All streams are open, refused or given up. Only events sent from now on give a latency.
    bool is_open;
    double opened_at;
    uint64_t opened_at_microseconds;

    // The counts since the last report.
    double report_began;
    double report_began_processor;
    long events;
    long heartbeats;
    long bytes;
    // Open streams that ended.
    long ended;
    struct samples latencies;
    struct revocation *revocations;
    size_t revocation_count;
};

// The monotonic clock in seconds.
double clock_monotonic(void);

// The present time in microseconds since 1970.
uint64_t clock_microseconds(void);

// The processor time of this process in seconds.
double clock_processor(void);

struct load *load_make(struct options options, struct requests requests);

// Begins as many connections as the options allow now. Returns the milliseconds to wait before the next call.
int load_begin(struct load *load);

// Waits at most so many milliseconds for a stream or standard input, and handles the events of streams. Returns true if
// standard input can be read.
bool load_wait(struct load *load, int milliseconds);

// Returns true if the opening is over: each stream is open or refused, or none has made progress for a long time.
bool load_settles(struct load *load);

// Prints the result of the opening, and begins to measure.
void load_report_opening(struct load *load);

// Prints the counts since the last report, and resets them.
void load_report(struct load *load);

#endif
