// Reading the response of an event stream, in whatever pieces it arrives.
#ifndef SSELOAD_RESPONSE_H
#define SSELOAD_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Where the reader of one response stands. All zero at the beginning.
struct response {
    // What comes next.
    enum {
        READS_STATUS,
        READS_HEADERS,
        READS_CHUNK_SIZE,
        READS_CHUNK,
        // The line end after a chunk.
        READS_CHUNK_END,
        // A body without chunks goes on until the connection ends.
        READS_UNTIL_END,
        // After the last chunk, or after what is no HTTP.
        READS_NOTHING,
    } place;
    int status;
    bool is_chunked;
    // How many bytes of the present chunk are still to come.
    uint64_t chunk_left;
    // The beginning of a line whose end has not arrived: of the head, of the chunks' sizes, or of the events.
    char *line;
    size_t line_length;
    // A size of a chunk may arrive while a line of an event is unfinished.
    char chunk_size[20];
    size_t chunk_size_length;
    // The fields of the event that is being read.
    bool has_data;
    bool is_unavailable;
    uint64_t sent;
};

// What the reader has found.
struct finding {
    enum {
        FOUND_HEAD,
        FOUND_EVENT,
        // `event: unavailable`: the server takes no more streams now.
        FOUND_UNAVAILABLE,
        FOUND_HEARTBEAT,
        // The response is complete, or is none.
        FOUND_END,
    } kind;
    // Of an event: the microseconds since 1970 that its data says it was sent at, or 0.
    uint64_t sent;
};

// Reads what has arrived and calls `found` for each finding, in order.
void response_read(
    struct response *response, const char *bytes, size_t count, void (*found)(void *context, struct finding finding),
    void *context);

// Frees what the reader keeps.
void response_end(struct response *response);

#endif
