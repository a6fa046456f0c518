#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// The threads of Swift's runtime in a cage without a /proc of its own.
//
// libdispatch looks at /proc/TID/stat of each of its threads once a second, to see which of them run. If it cannot open one,
// it ends the process: "workq: registered worker exited prematurely" (src/event/workqueue.c of swift-corelibs-libdispatch).
// Landlock grants the folder /proc/PID of the stage, and the folders of later threads beside it cannot be granted in advance.
// The same file is below /proc/PID, too. This program therefore brings its own open(2), which libdispatch calls.

// True for /proc/TID/stat.
static bool is_status_of_thread(const char *path) {
    if (strncmp(path, "/proc/", 6) != 0) return false;
    size_t digits = strspn(path + 6, "0123456789");
    return digits > 0 && strcmp(path + 6 + digits, "/stat") == 0;
}

// The status of a thread that runs, for a place where no /proc tells: libdispatch then keeps the number of its threads.
static int status_of_running_thread(void) {
    static const char text[] = "1 (thread) R ";
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return -1;
    ssize_t written = write(ends[1], text, sizeof text - 1);
    (void)written;
    close(ends[1]);
    return ends[0];
}

// Is there for libdispatch, and does what the C library's function does for every path that can be opened.
int open(const char *path, int flags, ...) {
    mode_t mode = 0;
    // "The mode argument must be supplied if O_CREAT or O_TMPFILE is specified": open(2).
    if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    int file = openat(AT_FDCWD, path, flags, mode);
    if (file >= 0 || !is_status_of_thread(path)) return file;
    int error = errno;
    char below[64] = "/proc/self/task/";
    if (strlen(path) + 10 < sizeof below) {
        strcat(below, path + 6);
        file = openat(AT_FDCWD, below, flags, mode);
    }
    if (file < 0) file = status_of_running_thread();
    if (file < 0) errno = error;
    return file;
}
