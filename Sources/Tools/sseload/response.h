// Reads the response of an event stream, in pieces of any length.
#ifndef SSELOAD_RESPONSE_H
#define SSELOAD_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The state of the reader of one response. It begins with all zeros.
struct response {
    // What the reader expects next.
    enum {
        READS_STATUS,
        READS_HEADERS,
        READS_CHUNK_SIZE,
        READS_CHUNK,
        // The line end after a chunk.
        READS_CHUNK_END,
        // A body without chunks ends with the connection.
        READS_UNTIL_END,
        // The reader is after the last chunk, or the response is not HTTP.
        READS_NOTHING,
    } state;
    int status;
    bool is_chunked;
    // The bytes of the present chunk that have not arrived.
    uint64_t chunk_left;
    // The beginning of an incomplete line: of the head, of a chunk's size or of an event.
    char *line;
    size_t line_length;
    // Kept apart, because the size of a chunk may arrive in the middle of an event's line.
    char chunk_size[20];
    size_t chunk_size_length;
    // The fields of the present event.
    bool has_data;
    bool is_unavailable;
    bool is_revoked;
    uint64_t sent;
};

// What the reader found.
struct finding {
    enum {
        FOUND_HEAD,
        FOUND_EVENT,
        // `event: unavailable`: the server accepts no more streams now.
        FOUND_UNAVAILABLE,
        FOUND_HEARTBEAT,
        // The response is complete, or is not HTTP.
        FOUND_END,
    } kind;
    // The time in the data of an event, in microseconds since 1970, or 0.
    uint64_t sent;
    // True for `event: revoked`: the client has lost its right, and the server ends the stream.
    bool is_revoked;
};

// Reads bytes, and calls `found` for each finding, in order.
void response_read(
    struct response *response, const char *bytes, size_t count, void (*found)(void *context, struct finding finding),
    void *context);

// Frees the memory of the reader.
void response_end(struct response *response);

#endif
