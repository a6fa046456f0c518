#define _GNU_SOURCE
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

void cage_report(int descriptor, int what, int error, int detail) {
    struct cage_report record = {what, error, detail};
    ssize_t written = write(descriptor, &record, sizeof record);
    (void)written;
}

_Noreturn void cage_give_up(int descriptor, int error, int mechanism) {
    cage_report(descriptor, CAGE_SETUP, error, mechanism);
    _exit(CAGE_NOT_STARTED);
}

int cage_write_file(int folder, const char *path, const char *text) {
    int file = openat(folder, path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return errno;
    int error = write(file, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : errno;
    close(file);
    return error;
}

bool cage_reap(pid_t awaited, int *status, bool *has_children) {
    bool ended = false;
    for (;;) {
        int ending;
        pid_t child = waitpid(-1, &ending, WNOHANG);
        if (child <= 0) {
            *has_children = child == 0;
            return ended;
        }
        if (child == awaited) {
            *status = ending;
            ended = true;
        }
    }
}

void cage_drain_signals(int signals, bool *is_asked_to_end) {
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof info) == sizeof info)
        if (info.ssi_signo != SIGCHLD) *is_asked_to_end = true;
}
