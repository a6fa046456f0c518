#define _GNU_SOURCE
#include "internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The processes of a host, at most: PID_MAX_LIMIT of the kernel is four million, and a cage has a thousand.
#define LARGEST 65536

struct process {
    pid_t number, parent;
    bool is_ours;
};

// Reads the parent of a process. The name in /proc/PID/stat is in parentheses, and may have any character.
static pid_t parent_of(pid_t number) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", number);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) return -1;
    text[length] = 0;
    char *end = strrchr(text, ')');
    int parent;
    return end != NULL && sscanf(end + 1, " %*c %d", &parent) == 1 ? parent : -1;
}

static size_t list(struct process *processes) {
    DIR *directory = opendir("/proc");
    if (directory == NULL) return 0;
    size_t count = 0;
    for (struct dirent *entry; count < LARGEST && (entry = readdir(directory)) != NULL;) {
        char *end;
        long number = strtol(entry->d_name, &end, 10);
        if (*end != 0 || number <= 1) continue;
        processes[count++] = (struct process){(pid_t)number, parent_of((pid_t)number), false};
    }
    closedir(directory);
    return count;
}

// Marks the descendants of this process. A process number may be lower than its parent's: several passes are needed.
static void mark(struct process *processes, size_t count) {
    pid_t own = getpid();
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t index = 0; index < count; index++) {
            struct process *process = &processes[index];
            if (process->is_ours || process->parent < 0) continue;
            bool ours = process->parent == own;
            for (size_t other = 0; !ours && other < count; other++)
                ours = processes[other].is_ours && processes[other].number == process->parent;
            if (ours) process->is_ours = changed = true;
        }
    }
}

void cage_signal_descendants(int signal) {
    // One thread, never reentered.
    static struct process processes[LARGEST];
    size_t stopped = 0, count = 0;
    // A stopped process starts no other one. When a look finds no more than the last one did, all are stopped.
    for (int look = 0; look < 100; look++) {
        count = list(processes);
        mark(processes, count);
        size_t found = 0;
        for (size_t index = 0; index < count; index++) {
            if (!processes[index].is_ours) continue;
            found++;
            kill(processes[index].number, SIGSTOP);
        }
        if (found <= stopped) break;
        stopped = found;
    }
    for (size_t index = 0; index < count; index++) {
        if (!processes[index].is_ours) continue;
        kill(processes[index].number, signal);
        if (signal != SIGKILL) kill(processes[index].number, SIGCONT);
    }
}
