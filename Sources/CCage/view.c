#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// mount_setattr(2) is newer than the headers of some distributions: Linux 5.12.
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#define ATTRIBUTE_READ_ONLY 0x1
#define ATTRIBUTE_NO_SET_USER_ID 0x2
#define ATTRIBUTE_NO_DEVICES 0x4

struct attributes {
    uint64_t set, clear, propagation, user_namespace;
};

// Where the old and the new root are while the new one is made. Both are in a file system of this process alone.
#define BASE "/tmp"
#define OLD "/old"
#define NEW "/new"

// The stage sees these where no /proc of its own can be mounted.
const char *const cage_machine_files[] = {
    "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/filesystems", "/proc/version", "/proc/loadavg",
    "/proc/uptime", "/proc/sys/kernel/osrelease", "/proc/sys/vm/overcommit_memory", NULL,
};

static int joined(char *target, const char *prefix, const char *path) {
    int length = snprintf(target, PATH_MAX, "%s%s", prefix, path);
    return length < PATH_MAX ? 0 : ENAMETOOLONG;
}

// True for the errors of a target that is there already, in what an earlier path of the plan has brought, or of a source that
// this user cannot reach. The stage then sees less, and never more.
static bool is_bearable(int error) {
    return error == EEXIST || error == EROFS || error == EACCES || error == ENOENT || error == ENOTDIR || error == ELOOP;
}

// Makes the folders above a path.
static int make_parents(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        int error = mkdir(path, 0755) == 0 || is_bearable(errno) ? 0 : errno;
        *slash = '/';
        if (error != 0) return error;
    }
    return 0;
}

static int set_attributes(const char *path, uint64_t set, unsigned flags) {
    struct attributes attributes = {set, 0, 0, 0};
    return syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &attributes, sizeof attributes) == 0 ? 0 : errno;
}

// Shows one path of the old root in the new one.
static int show(const char *path, char kind) {
    char source[PATH_MAX], target[PATH_MAX], link[PATH_MAX];
    int error = joined(source, OLD, path);
    if (error == 0) error = joined(target, NEW, path);
    if (error != 0) return error;
    struct stat status;
    if (lstat(source, &status) != 0) return is_bearable(errno) ? 0 : errno;
    error = make_parents(target);
    if (error != 0) return error;
    if (S_ISLNK(status.st_mode)) {
        ssize_t length = readlink(source, link, sizeof link - 1);
        if (length < 0) return errno;
        link[length] = 0;
        return symlink(link, target) == 0 || is_bearable(errno) ? 0 : errno;
    }
    if (S_ISDIR(status.st_mode)) {
        if (mkdir(target, 0755) != 0 && !is_bearable(errno)) return errno;
    } else if (access(target, F_OK) != 0) {
        int file = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (file < 0) return is_bearable(errno) ? 0 : errno;
        close(file);
    }
    if (mount(source, target, NULL, MS_BIND | MS_REC, NULL) != 0) return is_bearable(errno) ? 0 : errno;
    uint64_t set = ATTRIBUTE_NO_SET_USER_ID;
    if (kind != CAGE_WRITABLE) set |= ATTRIBUTE_READ_ONLY;
    if (kind != CAGE_DEVICE) set |= ATTRIBUTE_NO_DEVICES;
    // A device is a node of a file system. Writing to the device needs no writable file system.
    return set_attributes(target, set, AT_RECURSIVE);
}

static int show_proc(bool wants_proc, bool *has_proc) {
    *has_proc = false;
    if (wants_proc) {
        if (mkdir(NEW "/proc", 0555) != 0 && errno != EEXIST) return errno;
        // The kernel refuses this in a container that hides parts of /proc.
        if (mount("proc", NEW "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0) {
            *has_proc = true;
            return 0;
        }
    }
    for (const char *const *file = cage_machine_files; *file != NULL; file++) {
        int error = show(*file, CAGE_READABLE);
        if (error != 0) return error;
    }
    return 0;
}

int cage_enter_view(const struct cage_plan *plan, bool wants_proc, bool *has_proc) {
    // Nothing that is mounted from here on reaches the host.
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return errno;
    if (mount("tmpfs", BASE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=16m,nr_inodes=64k") != 0) return errno;
    if (mkdir(BASE OLD, 0755) != 0 || mkdir(BASE NEW, 0755) != 0) return errno;
    if (syscall(SYS_pivot_root, BASE, BASE OLD) != 0 || chdir("/") != 0) return errno;
    // Only a mount can become the root.
    if (mount(NEW, NEW, NULL, MS_BIND | MS_REC, NULL) != 0) return errno;
    for (size_t index = 0; index < plan->path_count; index++) {
        int error = show(plan->paths[index].path, plan->paths[index].kind);
        if (error != 0) return error;
    }
    int error = show_proc(wants_proc, has_proc);
    if (error != 0) return error;
    if (umount2(OLD, MNT_DETACH) != 0 || chdir(NEW) != 0) return errno;
    // pivot_root(2): new_root and put_old may be the same folder. The old root then lies on top of the new one.
    if (syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 || chdir("/") != 0) return errno;
    return set_attributes("/", ATTRIBUTE_READ_ONLY | ATTRIBUTE_NO_SET_USER_ID | ATTRIBUTE_NO_DEVICES, 0);
}
