// sseload: holds event streams open on one server and measures their events. `sseload --help` shows its use.

#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

static volatile sig_atomic_t was_told_to_end;

static void end(int signal) {
    (void)signal;
    was_told_to_end = 1;
}

// The last command of standard input.
struct command {
    // True if a report is due.
    bool is_open;
    // The report is due when there are so many latencies, or at the deadline.
    size_t latencies;
    double deadline;
};

// Reads one command. Returns false at the end of standard input.
static bool read_command(struct command *command) {
    // Reads byte by byte: epoll_wait would not report bytes in the buffer of stdio.
    char line[128];
    size_t length = 0;
    for (char byte; length < sizeof line - 1;) {
        ssize_t count = read(STDIN_FILENO, &byte, 1);
        if (count <= 0) return false;
        if (byte == '\n') break;
        line[length++] = byte;
    }
    line[length] = '\0';
    size_t latencies;
    double seconds;
    if (strcmp(line, "report") == 0) *command = (struct command){.is_open = true};
    else if (sscanf(line, "await %zu %lf", &latencies, &seconds) == 2)
        *command = (struct command){.is_open = true, .latencies = latencies, .deadline = clock_monotonic() + seconds};
    else warnx("unknown command: %s", line);
    return true;
}

static void open_streams(struct load *load) {
    struct command ignored;
    while (!was_told_to_end && !load_settles(load)) {
        if (load_wait(load, load_begin(load)) && !read_command(&ignored)) was_told_to_end = 1;
    }
    if (!was_told_to_end) load_report_opening(load);
}

static void measure(struct load *load) {
    struct command command = {.is_open = false};
    while (!was_told_to_end) {
        if (load_wait(load, 20) && !read_command(&command)) return;
        if (command.is_open && (load->latencies.count >= command.latencies || clock_monotonic() >= command.deadline)) {
            load_report(load);
            command.is_open = false;
        }
    }
}

static void measure_for(struct load *load, double seconds) {
    double end = clock_monotonic() + seconds;
    while (!was_told_to_end && clock_monotonic() < end) load_wait(load, 20);
    load_report(load);
}

int main(int count, char **arguments) {
    struct options options = options_read(count, arguments);
    struct requests requests = requests_read(options.targets, options.port);
    // Without SA_RESTART, so that a signal ends epoll_wait.
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);

    struct load *load = load_make(options, requests);
    open_streams(load);
    if (was_told_to_end) return EXIT_SUCCESS;
    if (options.seconds < 0) measure(load);
    else measure_for(load, options.seconds);
    return EXIT_SUCCESS;
}
