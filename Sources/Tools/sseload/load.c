#include "load.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    // The connections to begin before arrived events are handled.
    BEGUN_AT_ONCE = 64,
    // The seconds without progress of any stream that end the opening.
    OPENING_TIMEOUT = 30,
};

static double seconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

double clock_monotonic(void) { return seconds(CLOCK_MONOTONIC); }

double clock_processor(void) { return seconds(CLOCK_PROCESS_CPUTIME_ID); }

uint64_t clock_microseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

// Makes room for one descriptor for each stream.
static void raise_limit(int streams) {
    struct rlimit limit;
    rlim_t needed = (rlim_t)streams + 16;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) err(EXIT_FAILURE, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) err(EXIT_FAILURE, "setrlimit");
    if (limit.rlim_max < needed)
        errx(
            EXIT_FAILURE, "%d streams need %llu descriptors, and this process may have %llu (ulimit -n)", streams,
            (unsigned long long)needed, (unsigned long long)limit.rlim_max);
}

struct load *load_make(struct options options, struct requests requests) {
    struct load *load = calloc(1, sizeof *load);
    if (load == NULL) err(EXIT_FAILURE, "out of memory");
    raise_limit(options.streams);
    load->options = options;
    load->requests = requests;
    load->streams = calloc((size_t)options.streams, sizeof *load->streams);
    // A revoked stream ends. Each stream therefore has at most one revocation.
    load->revocations = calloc((size_t)options.streams, sizeof *load->revocations);
    if (load->streams == NULL || load->revocations == NULL) err(EXIT_FAILURE, "out of memory");
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load->epoll < 0) err(EXIT_FAILURE, "epoll_create1");
    // epoll cannot watch a regular file, which is always ready. Then only --seconds ends the program.
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (options.seconds < 0 && epoll_ctl(load->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0)
        err(EXIT_FAILURE, "standard input is not a pipe or a terminal; use --seconds");
    load->opening_began = load->opening_stirred = clock_monotonic();
    return load;
}

// MARK: Opening

// A local address to connect from. Each run has another one, because the ports of an earlier run are still in use.
//
// connect(2) prefers one half of the ports, 14,116 by default. Once they are in use, each call looks at all of them first.
static struct sockaddr_in source_address(int stream) {
    enum { STREAMS_PER_ADDRESS = 12000 };
    uint32_t run = (uint32_t)getpid() % (1 << 16) << 3;
    uint32_t address = (127u << 24 | 1u << 20 | run) + 1 + (uint32_t)stream / STREAMS_PER_ADDRESS;
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
}

static void set_option(int descriptor, int level, int name, int value, const char *words) {
    if (setsockopt(descriptor, level, name, &value, sizeof value) != 0) err(EXIT_FAILURE, "%s", words);
}

static void close_stream(struct stream *stream) {
    close(stream->descriptor);
    stream->stage = STREAM_CLOSED;
}

static void refuse_stream(struct load *load, struct stream *stream, int status) {
    load->refused++;
    load->opening_stirred = clock_monotonic();
    if (status != 0) load->refused_status = status;
    close_stream(stream);
}

static void begin_stream(struct load *load) {
    int index = load->begun++;
    struct stream *stream = &load->streams[index];
    stream->request = &load->requests.all[(size_t)index % load->requests.count];
    stream->is_slow = index < load->options.slow;
    stream->begun = clock_monotonic();
    stream->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (stream->descriptor < 0) err(EXIT_FAILURE, "socket");
    if (load->options.receive_buffer > 0)
        set_option(stream->descriptor, SOL_SOCKET, SO_RCVBUF, load->options.receive_buffer, "SO_RCVBUF");
    // connect(2) chooses the port, when it knows the server: one local address then has all ports for each server.
    set_option(stream->descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1, "IP_BIND_ADDRESS_NO_PORT");
    struct sockaddr_in source = source_address(index);
    if (bind(stream->descriptor, (struct sockaddr *)&source, sizeof source) != 0) err(EXIT_FAILURE, "bind");
    struct sockaddr_in server = {
        .sin_family = AF_INET, .sin_addr = load->options.host, .sin_port = htons((uint16_t)load->options.port)};
    if (connect(stream->descriptor, (struct sockaddr *)&server, sizeof server) != 0 && errno != EINPROGRESS) {
        warn("connect");
        refuse_stream(load, stream, 0);
        return;
    }
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = stream};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, stream->descriptor, &event) != 0) err(EXIT_FAILURE, "epoll_ctl");
}

int load_begin(struct load *load) {
    double allowed = load->options.streams;
    if (load->options.rate > 0) {
        double by_rate = (clock_monotonic() - load->opening_began) * load->options.rate + 1;
        if (by_rate < allowed) allowed = by_rate;
    }
    for (int count = 0; count < BEGUN_AT_ONCE; count++) {
        if (load->begun == load->options.streams) return 100;
        if (load->begun >= allowed) return 1;
        if (load->begun - load->opened - load->refused >= load->options.pending) return 1;
        begin_stream(load);
    }
    return 0;
}

static void send_request(struct load *load, struct stream *stream) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(stream->descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
        errno = error;
        warn("connect");
        refuse_stream(load, stream, 0);
        return;
    }
    // The request is far smaller than the empty buffer of a new socket. Therefore one call sends all of it.
    ssize_t sent = send(stream->descriptor, stream->request->bytes, stream->request->length, MSG_NOSIGNAL);
    if (sent != (ssize_t)stream->request->length) {
        if (sent < 0) warn("send");
        else warnx("send: %zd bytes of %zu", sent, stream->request->length);
        refuse_stream(load, stream, 0);
        return;
    }
    stream->stage = STREAM_OPENING;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = stream};
    if (epoll_ctl(load->epoll, EPOLL_CTL_MOD, stream->descriptor, &event) != 0) err(EXIT_FAILURE, "epoll_ctl");
}

bool load_settles(struct load *load) {
    if (load->opened + load->refused == load->options.streams) return true;
    return load->begun == load->options.streams && clock_monotonic() - load->opening_stirred > OPENING_TIMEOUT;
}

// MARK: Reading

struct arrival {
    struct load *load;
    struct stream *stream;
    uint64_t microseconds;
};

static void opened(struct load *load, struct stream *stream) {
    stream->stage = STREAM_OPEN;
    load->opened++;
    load->opening_stirred = clock_monotonic();
    samples_add(&load->openings, load->opening_stirred - stream->begun);
    if (stream->is_slow) epoll_ctl(load->epoll, EPOLL_CTL_DEL, stream->descriptor, NULL);
}

static void count_revocation(struct arrival *arrival) {
    struct load *load = arrival->load;
    if (load->revocation_count == (size_t)load->options.streams) return;
    load->revocations[load->revocation_count++] = (struct revocation){
        .stream = (int)(arrival->stream - load->streams), .at = arrival->microseconds};
}

static void count_event(struct arrival *arrival, uint64_t sent) {
    struct load *load = arrival->load;
    struct stream *stream = arrival->stream;
    load->events++;
    stream->events++;
    if (!load->is_open || sent <= load->opened_at_microseconds || sent <= stream->last_sent) return;
    stream->last_sent = sent;
    samples_add(&load->latencies, ((double)arrival->microseconds - (double)sent) / 1e6);
}

// Handles a finding of the reader.
static void take(void *context, struct finding finding) {
    struct arrival *arrival = context;
    struct load *load = arrival->load;
    struct stream *stream = arrival->stream;
    // One piece of a response may have several findings, and the first may close the stream.
    if (stream->stage == STREAM_CLOSED) return;
    bool was_open = stream->stage == STREAM_OPEN;
    switch (finding.kind) {
    case FOUND_HEAD:
        if (stream->response.status != 200) refuse_stream(load, stream, stream->response.status);
        else if (load->options.opens_with_head) opened(load, stream);
        break;
    case FOUND_EVENT:
        if (!was_open) opened(load, stream);
        count_event(arrival, finding.sent);
        if (finding.is_revoked) count_revocation(arrival);
        break;
    case FOUND_HEARTBEAT: load->heartbeats++; break;
    case FOUND_UNAVAILABLE:
    case FOUND_END:
        if (!was_open) {
            refuse_stream(load, stream, stream->response.status);
        } else {
            load->ended++;
            close_stream(stream);
        }
    }
}

static void read_stream(struct load *load, struct stream *stream) {
    static char bytes[1 << 16];
    ssize_t count = recv(stream->descriptor, bytes, sizeof bytes, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    // Without a status, only this message tells why the stream was refused.
    if (count <= 0 && stream->response.status == 0) {
        if (count < 0) warn("recv");
        else warnx("closed without an answer, %.3f s after the connection began", clock_monotonic() - stream->begun);
    }
    struct arrival arrival = {load, stream, clock_microseconds()};
    if (count > 0) {
        load->bytes += count;
        response_read(&stream->response, bytes, (size_t)count, take, &arrival);
    } else {
        take(&arrival, (struct finding){.kind = FOUND_END});
    }
    if (stream->stage == STREAM_CLOSED) response_end(&stream->response);
}

bool load_wait(struct load *load, int milliseconds) {
    struct epoll_event events[512];
    bool has_input = false;
    int count = epoll_wait(load->epoll, events, sizeof events / sizeof events[0], milliseconds);
    if (count < 0 && errno != EINTR) err(EXIT_FAILURE, "epoll_wait");
    for (int index = 0; index < count; index++) {
        struct stream *stream = events[index].data.ptr;
        if (stream == NULL) has_input = true;
        else if (stream->stage == STREAM_CONNECTING) send_request(load, stream);
        else if (stream->stage != STREAM_CLOSED) read_stream(load, stream);
    }
    return has_input;
}
