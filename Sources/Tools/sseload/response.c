#include "response.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// The limit of a line. The measured streams have shorter lines. A longer line ends the response.
enum { LONGEST_LINE = 1 << 20 };

typedef void found_function(void *context, struct finding finding);

static bool begins_with(const char *text, size_t length, const char *beginning) {
    size_t wanted = strlen(beginning);
    return length >= wanted && memcmp(text, beginning, wanted) == 0;
}

static bool is_text(const char *line, size_t length, const char *text) {
    return length == strlen(text) && memcmp(line, text, length) == 0;
}

// Returns the number after "t=" in the data of an event, or 0. It has sixteen digits: a time from 2001 to 2286.
static uint64_t time_in(const char *data, size_t length) {
    enum { DIGITS = 16 };
    const char *end = data + length;
    while ((data = memmem(data, (size_t)(end - data), "t=", 2)) != NULL) {
        data += 2;
        uint64_t value = 0;
        int digits = 0;
        while (digits < DIGITS && data + digits < end && data[digits] >= '0' && data[digits] <= '9')
            value = value * 10 + (uint64_t)(data[digits++] - '0');
        if (digits == DIGITS) return value;
    }
    return 0;
}

static void read_status(struct response *response, const char *line, size_t length) {
    // RFC 9112, 4: "status-line = HTTP-version SP status-code SP [ reason-phrase ]".
    if (!begins_with(line, length, "HTTP/1.") || length < 12) {
        response->state = READS_NOTHING;
        return;
    }
    for (int digit = 9; digit < 12; digit++) response->status = response->status * 10 + (line[digit] - '0');
    response->state = READS_HEADERS;
}

static void read_header(
    struct response *response, const char *line, size_t length, found_function *found, void *context) {
    static const char chunked[] = "transfer-encoding: chunked";
    if (length == 0) {
        response->state = response->is_chunked ? READS_CHUNK_SIZE : READS_UNTIL_END;
        found(context, (struct finding){.kind = FOUND_HEAD});
    } else if (length == sizeof chunked - 1 && strncasecmp(line, chunked, length) == 0) {
        response->is_chunked = true;
    }
}

// Reads a line of an event (HTML standard, 9.2.5).
static void read_event_line(
    struct response *response, const char *line, size_t length, found_function *found, void *context) {
    if (length == 0) {
        if (response->is_unavailable) found(context, (struct finding){.kind = FOUND_UNAVAILABLE});
        else if (response->has_data)
            found(
                context,
                (struct finding){
                    .kind = FOUND_EVENT, .sent = response->sent, .is_revoked = response->is_revoked});
        response->has_data = response->is_unavailable = response->is_revoked = false;
        response->sent = 0;
    } else if (line[0] == ':') {
        found(context, (struct finding){.kind = FOUND_HEARTBEAT});
    } else if (begins_with(line, length, "data:")) {
        response->has_data = true;
        if (response->sent == 0) response->sent = time_in(line + 5, length - 5);
    } else if (begins_with(line, length, "event:")) {
        response->is_unavailable = is_text(line, length, "event: unavailable");
        response->is_revoked = is_text(line, length, "event: revoked");
    }
}

static void read_line(
    struct response *response, const char *line, size_t length, found_function *found, void *context) {
    if (length > 0 && line[length - 1] == '\r') length--;
    switch (response->state) {
    case READS_STATUS: read_status(response, line, length); break;
    case READS_HEADERS: read_header(response, line, length, found, context); break;
    default: read_event_line(response, line, length, found, context);
    }
}

// Keeps the beginning of a line until the rest arrives.
static void keep(struct response *response, const char *bytes, size_t count) {
    if (count == 0) return;
    if (response->line_length + count > LONGEST_LINE) {
        response->state = READS_NOTHING;
        return;
    }
    response->line = realloc(response->line, response->line_length + count);
    if (response->line == NULL) err(EXIT_FAILURE, "out of memory");
    memcpy(response->line + response->line_length, bytes, count);
    response->line_length += count;
}

static void forget_line(struct response *response) {
    free(response->line);
    response->line = NULL;
    response->line_length = 0;
}

// Reads a line, or the available piece of it. Returns the number of read bytes.
static size_t take_line(
    struct response *response, const char *bytes, size_t count, found_function *found, void *context) {
    const char *end = memchr(bytes, '\n', count);
    if (end == NULL) {
        keep(response, bytes, count);
        return count;
    }
    size_t length = (size_t)(end - bytes);
    if (response->line == NULL) {
        read_line(response, bytes, length, found, context);
    } else {
        keep(response, bytes, length);
        if (response->state != READS_NOTHING)
            read_line(response, response->line, response->line_length, found, context);
        forget_line(response);
    }
    return length + 1;
}

// Reads a chunk's size. RFC 9112, 7.1: "chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF". Returns the number of
// read bytes.
static size_t take_chunk_size(struct response *response, const char *bytes, size_t count) {
    for (size_t index = 0; index < count; index++) {
        if (bytes[index] != '\n') {
            // Bytes that do not fit belong to an extension.
            if (response->chunk_size_length < sizeof response->chunk_size - 1)
                response->chunk_size[response->chunk_size_length++] = bytes[index];
            continue;
        }
        response->chunk_size[response->chunk_size_length] = '\0';
        response->chunk_size_length = 0;
        response->chunk_left = strtoull(response->chunk_size, NULL, 16);
        response->state = response->chunk_left > 0 ? READS_CHUNK : READS_NOTHING;
        return index + 1;
    }
    return count;
}

// Reads lines of a chunk, as far as they have arrived. Returns the number of read bytes.
static size_t take_chunk(
    struct response *response, const char *bytes, size_t count, found_function *found, void *context) {
    if (count > response->chunk_left) count = (size_t)response->chunk_left;
    size_t taken = take_line(response, bytes, count, found, context);
    response->chunk_left -= taken;
    if (response->chunk_left == 0 && response->state == READS_CHUNK) response->state = READS_CHUNK_END;
    return taken;
}

static size_t take_chunk_end(struct response *response, const char *bytes, size_t count) {
    const char *end = memchr(bytes, '\n', count);
    if (end == NULL) return count;
    response->state = READS_CHUNK_SIZE;
    return (size_t)(end - bytes) + 1;
}

void response_read(
    struct response *response, const char *bytes, size_t count, found_function *found, void *context) {
    while (count > 0 && response->state != READS_NOTHING) {
        size_t taken;
        switch (response->state) {
        case READS_CHUNK_SIZE: taken = take_chunk_size(response, bytes, count); break;
        case READS_CHUNK: taken = take_chunk(response, bytes, count, found, context); break;
        case READS_CHUNK_END: taken = take_chunk_end(response, bytes, count); break;
        default: taken = take_line(response, bytes, count, found, context);
        }
        bytes += taken;
        count -= taken;
    }
    if (response->state == READS_NOTHING) found(context, (struct finding){.kind = FOUND_END});
}

void response_end(struct response *response) {
    forget_line(response);
}
