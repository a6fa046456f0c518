#define _GNU_SOURCE
#include "attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static void try_to_read(const char *path) {
    int file = open(path, O_RDONLY);
    char byte;
    cage_tell("read", file >= 0 && read(file, &byte, 1) >= 0);
    if (file >= 0) close(file);
}

static void try_to_write(const char *path) {
    char name[4096];
    snprintf(name, sizeof name, "%s/written-by-a-stage", path);
    int file = open(name, O_WRONLY | O_CREAT, 0600);
    cage_tell("write", file >= 0);
    if (file >= 0) {
        close(file);
        unlink(name);
    }
}

// A writer that does not wait gets an error if the pipe has no reader: ENXIO tells that the pipe was reached.
static void try_pipe(const char *path) {
    int file = open(path, O_WRONLY | O_NONBLOCK);
    cage_tell("pipe", file >= 0 || errno == ENXIO);
    if (file >= 0) close(file);
}

// True if the inode of a file was changed: each change sets its time.
static bool has_changed(int file, const struct stat *before) {
    struct stat after;
    return fstat(file, &after) == 0
        && (after.st_ctim.tv_sec != before->st_ctim.tv_sec || after.st_ctim.tv_nsec != before->st_ctim.tv_nsec);
}

static void change_mode(int file, const struct stat *status) { fchmod(file, (status->st_mode & 07777) ^ S_IXOTH); }

static void change_owner(int file, const struct stat *status) { fchown(file, status->st_uid, status->st_gid); }

static void change_times(int file, const struct stat *status) {
    (void)status;
    futimens(file, (const struct timespec[]){{1, 0}, {1, 0}});
}

static void add_attribute(int file, const struct stat *status) {
    (void)status;
    fsetxattr(file, "user.stage", "", 0, 0);
}

static void remove_attribute(int file, const struct stat *status) {
    (void)status;
    fremovexattr(file, "user.host");
}

static void change_flags(int file, const struct stat *status) {
    (void)status;
    int flags = 0;
    ioctl(file, FS_IOC_GETFLAGS, &flags);
    flags ^= FS_NODUMP_FL;
    ioctl(file, FS_IOC_SETFLAGS, &flags);
}

static void change_project(int file, const struct stat *status) {
    (void)status;
    struct fsxattr attributes = {0};
    ioctl(file, FS_IOC_FSGETXATTR, &attributes);
    attributes.fsx_xflags ^= FS_XFLAG_NODUMP;
    ioctl(file, FS_IOC_FSSETXATTR, &attributes);
}

// Changes what a descriptor that was opened for reading lets its owner change.
static void try_to_change(const char *path) {
    const struct { const char *name; void (*change)(int, const struct stat *); } changes[] = {
        {"mode", change_mode}, {"owner", change_owner}, {"times", change_times}, {"attribute", add_attribute},
        {"no attribute", remove_attribute}, {"flags", change_flags}, {"project", change_project},
    };
    int file = open(path, O_RDONLY);
    for (size_t index = 0; index < sizeof changes / sizeof *changes; index++) {
        struct stat before;
        if (file < 0 || fstat(file, &before) != 0) {
            cage_tell(changes[index].name, false);
            continue;
        }
        errno = 0;
        changes[index].change(file, &before);
        cage_tell(changes[index].name, has_changed(file, &before));
        // The time of a change is as coarse as the kernel's tick.
        usleep(20000);
    }
    if (file >= 0) close(file);
}

// A lease lets the owner of a file delay everybody else that opens it.
static void try_lease(const char *path) {
    int file = open(path, O_RDONLY);
    cage_tell("lease", file >= 0 && fcntl(file, F_SETLEASE, F_RDLCK) == 0);
    if (file >= 0) close(file);
}

static void try_to_empty(const char *path) {
    int file = open(path, O_RDONLY | O_TRUNC);
    cage_tell("empty", file >= 0);
    if (file >= 0) close(file);
    cage_tell("truncate", truncate(path, 0) == 0);
}

bool cage_try_file(const char *attempt, const char *path) {
    const struct { const char *name; void (*make)(const char *); } attempts[] = {
        {"read", try_to_read}, {"write", try_to_write}, {"pipe", try_pipe}, {"change", try_to_change},
        {"lease", try_lease}, {"empty", try_to_empty},
    };
    for (size_t index = 0; index < sizeof attempts / sizeof *attempts; index++) {
        if (strcmp(attempt, attempts[index].name) != 0) continue;
        attempts[index].make(path);
        return true;
    }
    return false;
}
