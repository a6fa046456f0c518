#define _GNU_SOURCE
#include "internal.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

// Prints what happened to one attempt: "ok", or the name of the error.
static void tell(const char *name, bool succeeded) {
    printf("%s\t%s\n", name, succeeded ? "ok" : strerrorname_np(errno));
}

static void try_to_read(const char *path) {
    int file = open(path, O_RDONLY);
    char byte;
    tell("read", file >= 0 && read(file, &byte, 1) >= 0);
    if (file >= 0) close(file);
}

static void try_to_write(const char *path) {
    char name[4096];
    snprintf(name, sizeof name, "%s/written-by-a-stage", path);
    int file = open(name, O_WRONLY | O_CREAT, 0600);
    tell("write", file >= 0);
    if (file >= 0) {
        close(file);
        unlink(name);
    }
}

static void try_to_connect(const char *port) {
    int end = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int status = end < 0 ? -1 : connect(end, (struct sockaddr *)&address, sizeof address);
    // A refusal comes from a machine that was reached.
    tell("connect", status == 0 || (end >= 0 && (errno == EINPROGRESS || errno == ECONNREFUSED)));
}

// Counts the processes in /proc that are not this one, its parents or its children: with a /proc of the cage there is none.
static void look_for_others(void) {
    DIR *directory = opendir("/proc");
    int count = 0;
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        int number = atoi(entry->d_name);
        if (number > 1 && number != getpid()) count++;
    }
    printf("others\t%d\n", count);
}

// Starts children until the kernel refuses one, at most `most`.
static void count_children(int most) {
    int count = 0;
    while (count < most) {
        pid_t child = fork();
        if (child < 0) break;
        if (child == 0) {
            pause();
            _exit(0);
        }
        count++;
    }
    printf("children\t%d\n", count);
    // The children end with the cage.
}

int cage_inspect(int count, char *const arguments[]) {
    for (int index = 0; index + 1 < count; index += 2) {
        const char *attempt = arguments[index], *value = arguments[index + 1];
        errno = 0;
        if (strcmp(attempt, "read") == 0) try_to_read(value);
        else if (strcmp(attempt, "write") == 0) try_to_write(value);
        else if (strcmp(attempt, "connect") == 0) try_to_connect(value);
        // Signal 0 asks for the right to send one, and sends nothing.
        else if (strcmp(attempt, "signal") == 0) tell("signal", kill((pid_t)atoi(value), 0) == 0);
        else if (strcmp(attempt, "trace") == 0) tell("trace", ptrace(PTRACE_ATTACH, atoi(value), NULL, NULL) == 0);
        else if (strcmp(attempt, "others") == 0) look_for_others();
        else if (strcmp(attempt, "children") == 0) count_children(atoi(value));
    }
    printf("user\t%u\n", geteuid());
    fflush(stdout);
    return 0;
}
