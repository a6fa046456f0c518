#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int argument_count;
static char **all_arguments;

int cage_argument_count(void) { return argument_count; }

const char *cage_argument(int index) { return all_arguments[index]; }

// Runs before main. The C library passes the arguments of main to every constructor.
__attribute__((constructor)) static void take_over(int count, char *arguments[]) {
    argument_count = count;
    all_arguments = arguments;
    if (count < 2) return;
    if (count == 2 && strcmp(arguments[1], CAGE_LAUNCHER) == 0) _exit(cage_launch());
    if (strcmp(arguments[1], CAGE_INSPECTOR) == 0) _exit(cage_inspect(count - 2, arguments + 2));
}

int cage_channel(int ends[2]) {
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0 ? 0 : errno;
}

int cage_send(int end, const void *bytes, size_t count) {
    const char *position = bytes;
    while (count > 0) {
        ssize_t sent = send(end, position, count, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR) continue;
            return errno;
        }
        position += sent;
        count -= (size_t)sent;
    }
    return 0;
}

ssize_t cage_receive(int end, void *bytes, size_t count) { return recv(end, bytes, count, MSG_DONTWAIT); }

int cage_adopt_orphans(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 ? 0 : errno; }
