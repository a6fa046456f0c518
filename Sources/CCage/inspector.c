#define _GNU_SOURCE
#include "attempts.h"
#include "internal.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>

void cage_tell(const char *name, bool succeeded) {
    printf("%s\t%s\n", name, succeeded ? "ok" : strerrorname_np(errno));
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
        if (cage_try_file(attempt, value) || cage_try_call(attempt, value)) continue;
        if (cage_try_kernel(attempt, value) || cage_try_process(attempt, value)) continue;
        // Signal 0 asks for the right to send one, and sends nothing.
        if (strcmp(attempt, "signal") == 0) cage_tell("signal", kill((pid_t)atoi(value), 0) == 0);
        else if (strcmp(attempt, "trace") == 0) cage_tell("trace", ptrace(PTRACE_ATTACH, atoi(value), NULL, NULL) == 0);
        else if (strcmp(attempt, "others") == 0) look_for_others();
        else if (strcmp(attempt, "children") == 0) count_children(atoi(value));
    }
    printf("user\t%u\n", geteuid());
    fflush(stdout);
    return 0;
}
