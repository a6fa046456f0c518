#include <stdio.h>

#include "load.h"

// Prints a member of an object: the quantiles of samples, converted from seconds to milliseconds.
static void print_samples(const char *name, struct samples *samples) {
    samples_sort(samples);
    printf(",\"%s\":{\"count\":%zu", name, samples->count);
    static const struct {
        const char *name;
        double share;
    } columns[] = {{"min", 0}, {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
    for (size_t column = 0; column < sizeof columns / sizeof columns[0]; column++) {
        if (samples->count == 0) printf(",\"%s\":null", columns[column].name);
        else printf(",\"%s\":%.3f", columns[column].name, samples_share(samples, columns[column].share) * 1e3);
    }
    printf("}");
}

// Prints a member of an object: the distribution of events over the streams that are open and read.
static void print_spread(const struct load *load) {
    long least = -1, most = 0, none = 0;
    for (int index = 0; index < load->begun; index++) {
        const struct stream *stream = &load->streams[index];
        if (stream->stage != STREAM_OPEN || stream->is_slow) continue;
        if (least < 0 || stream->events < least) least = stream->events;
        if (stream->events > most) most = stream->events;
        if (stream->events == 0) none++;
    }
    printf(",\"events_per_stream\":{\"min\":%ld,\"max\":%ld,\"none\":%ld}", least < 0 ? 0 : least, most, none);
}

// Prints a member of an object: the revocations since the last report.
static void print_revocations(const struct load *load) {
    printf(",\"revoked\":[");
    for (size_t index = 0; index < load->revocation_count; index++) {
        const struct revocation *revocation = &load->revocations[index];
        printf(
            "%s{\"stream\":%d,\"at\":%llu}", index == 0 ? "" : ",", revocation->stream,
            (unsigned long long)revocation->at);
    }
    printf("]");
}

static void begin_anew(struct load *load) {
    load->report_began = clock_monotonic();
    load->report_began_processor = clock_processor();
    load->events = load->heartbeats = load->bytes = load->ended = 0;
    samples_clear(&load->latencies);
    load->revocation_count = 0;
    for (int index = 0; index < load->begun; index++) load->streams[index].events = 0;
}

void load_report_opening(struct load *load) {
    load->is_open = true;
    load->opened_at = clock_monotonic();
    load->opened_at_microseconds = clock_microseconds();
    printf(
        "{\"asked\":%d,\"open\":%d,\"refused\":%d,\"refused_status\":%d,\"unanswered\":%d,\"seconds\":%.3f",
        load->options.streams, load->opened, load->refused, load->refused_status,
        load->options.streams - load->opened - load->refused, load->opened_at - load->opening_began);
    print_samples("opening_ms", &load->openings);
    printf("}\n");
    fflush(stdout);
    begin_anew(load);
}

void load_report(struct load *load) {
    printf(
        "{\"seconds\":%.3f,\"processor_seconds\":%.3f,\"events\":%ld,\"heartbeats\":%ld,\"bytes\":%ld,\"ended\":%ld",
        clock_monotonic() - load->report_began, clock_processor() - load->report_began_processor, load->events,
        load->heartbeats, load->bytes, load->ended);
    print_spread(load);
    print_samples("latency_ms", &load->latencies);
    print_revocations(load);
    printf("}\n");
    fflush(stdout);
    begin_anew(load);
}
