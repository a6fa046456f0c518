#include "options.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static const char usage[] =
    "usage: sseload [OPTIONS] HOST PORT TARGETS STREAMS\n"
    "\n"
    "Holds STREAMS event streams (Server-Sent Events) open on one server of this machine and measures what arrives.\n"
    "\n"
    "HOST is an IPv4 address of loopback. TARGETS is a file with one request a line, \"PATH<TAB>Header: value<TAB>...\".\n"
    "The streams use the requests in turn. An event that is sent after all streams are open and has\n"
    "t=<microseconds since 1970> in its data gives a latency: the time from that moment to its arrival.\n"
    "\n"
    "  --rate N             begin N connections a second; 0 begins all at once (default 2000)\n"
    "  --pending N          have at most N streams that are not open yet (default 2000)\n"
    "  --open-with event    count a stream as open with its first event (default)\n"
    "  --open-with head     count a stream as open with the head of its response\n"
    "  --slow N             make the first N streams stop reading after their first event\n"
    "  --receive-buffer N   give each socket a receive buffer of N bytes\n"
    "  --seconds N          report N seconds after all streams are open, then end\n"
    "\n"
    "Prints one JSON object a line. The first, once each stream is open or refused, is the result of the opening. Then,\n"
    "without --seconds, a line on standard input requests a report on the events since the last report:\n"
    "\n"
    "  report               report now\n"
    "  await COUNT SECONDS  report when there are COUNT latencies, or after SECONDS\n"
    "\n"
    "The end of standard input ends the program.\n";

static _Noreturn void refuse(const char *problem, const char *value) {
    fprintf(stderr, "sseload: %s%s\n\n%s", problem, value, usage);
    exit(EX_USAGE);
}

static double number(const char *text, double least, double most, const char *name) {
    char *end;
    double value = strtod(text, &end);
    // The comparison also refuses NaN.
    if (end == text || *end != '\0' || !(value >= least && value <= most)) refuse("bad value for ", name);
    return value;
}

static bool opens_with_head(const char *text) {
    if (strcmp(text, "head") == 0) return true;
    if (strcmp(text, "event") != 0) refuse("--open-with takes event or head, not ", text);
    return false;
}

struct options options_read(int count, char **arguments) {
    enum { RATE = 1, PENDING, OPEN_WITH, SLOW, RECEIVE_BUFFER, SECONDS, HELP };
    static const struct option known[] = {
        {"rate", required_argument, NULL, RATE},
        {"pending", required_argument, NULL, PENDING},
        {"open-with", required_argument, NULL, OPEN_WITH},
        {"slow", required_argument, NULL, SLOW},
        {"receive-buffer", required_argument, NULL, RECEIVE_BUFFER},
        {"seconds", required_argument, NULL, SECONDS},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    struct options options = {.rate = 2000, .pending = 2000, .seconds = -1};
    opterr = 0;
    for (int option; (option = getopt_long(count, arguments, "", known, NULL)) != -1;) {
        switch (option) {
        case RATE: options.rate = number(optarg, 0, 1e9, "--rate"); break;
        case PENDING: options.pending = (int)number(optarg, 1, 1e6, "--pending"); break;
        case OPEN_WITH: options.opens_with_head = opens_with_head(optarg); break;
        case SLOW: options.slow = (int)number(optarg, 0, 1e6, "--slow"); break;
        case RECEIVE_BUFFER: options.receive_buffer = (int)number(optarg, 1, 1e9, "--receive-buffer"); break;
        case SECONDS: options.seconds = number(optarg, 0, 86400, "--seconds"); break;
        case HELP: fputs(usage, stdout); exit(EXIT_SUCCESS);
        default: refuse("unknown option, or one without its value: ", arguments[optind - 1]);
        }
    }
    if (count - optind != 4) refuse("expected HOST PORT TARGETS STREAMS", "");
    char **positional = arguments + optind;
    // Refuses other machines, because the tool opens thousands of connections.
    if (inet_pton(AF_INET, positional[0], &options.host) != 1 || ntohl(options.host.s_addr) >> 24 != 127)
        refuse("HOST has to be an IPv4 address of loopback, not ", positional[0]);
    options.port = (int)number(positional[1], 1, 65535, "PORT");
    options.targets = positional[2];
    options.streams = (int)number(positional[3], 1, 1e6, "STREAMS");
    return options;
}
