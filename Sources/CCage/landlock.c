#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// <linux/landlock.h> of an old distribution lacks what a new kernel has. The numbers are the kernel's interface and never
// change: https://docs.kernel.org/userspace-api/landlock.html
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

enum { RULE_PATH_BENEATH = 1 };
enum { VERSION_FLAG = 1 };

#define FS_EXECUTE (1ULL << 0)
#define FS_WRITE_FILE (1ULL << 1)
#define FS_READ_FILE (1ULL << 2)
#define FS_READ_DIR (1ULL << 3)
#define FS_MAKE_CHAR (1ULL << 6)
#define FS_MAKE_BLOCK (1ULL << 11)
#define FS_REFER (1ULL << 13)      // version 2
#define FS_TRUNCATE (1ULL << 14)   // version 3
#define FS_IOCTL_DEV (1ULL << 15)  // version 5
#define NET_BIND_TCP (1ULL << 0)   // version 4
#define NET_CONNECT_TCP (1ULL << 1)
#define SCOPE_ABSTRACT_UNIX (1ULL << 0)  // version 6
#define SCOPE_SIGNAL (1ULL << 1)

struct ruleset {
    uint64_t fs, net, scoped;
};

struct path_rule {
    uint64_t access;
    int32_t parent;
} __attribute__((packed));

// Adds a rule for an open file. A symbolic link has none: Landlock checks the file that is opened, not the way to it.
static int allow_open(int ruleset, int descriptor, uint64_t access) {
    struct stat status;
    if (fstat(descriptor, &status) != 0) return errno;
    if (S_ISLNK(status.st_mode)) return 0;
    if (!S_ISDIR(status.st_mode)) access &= FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV;
    struct path_rule rule = {access, descriptor};
    return syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) == 0 ? 0 : errno;
}

// Adds a rule for one path. A path that is gone needs no rule.
static int allow(int ruleset, const char *path, uint64_t access) {
    int descriptor = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0) return errno == ENOENT || errno == EACCES || errno == ENOTDIR ? 0 : errno;
    int error = allow_open(ruleset, descriptor, access);
    close(descriptor);
    return error;
}

int cage_enter_landlock(const struct cage_plan *plan, int program, bool has_view, bool has_proc, int *version) {
    int found = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, VERSION_FLAG);
    if (found < 0) return errno;
    uint64_t newest = plan->numbers[CAGE_LANDLOCK_VERSION];
    if (newest != CAGE_UNSET && newest < (uint64_t)found) found = (int)newest;
    *version = found;

    // "Best-effort security": every right that this kernel knows is handled, and the rules give back what is granted.
    struct ruleset handled = {(1ULL << 13) - 1, 0, 0};
    if (found >= 2) handled.fs |= FS_REFER;
    if (found >= 3) handled.fs |= FS_TRUNCATE;
    if (found >= 5) handled.fs |= FS_IOCTL_DEV;
    if (found >= 4 && plan->numbers[CAGE_NETWORK] != 1) handled.net = NET_BIND_TCP | NET_CONNECT_TCP;
    if (found >= 6) handled.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
    size_t size = found >= 6 ? sizeof handled : found >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);

    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0);
    if (ruleset < 0) return errno;
    uint64_t read = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR;
    uint64_t write = handled.fs & ~(FS_MAKE_CHAR | FS_MAKE_BLOCK | FS_IOCTL_DEV);
    uint64_t use = handled.fs & (FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV);
    int error = 0;
    for (size_t index = 0; error == 0 && index < plan->path_count; index++) {
        const struct cage_path *path = &plan->paths[index];
        uint64_t access = path->kind == CAGE_WRITABLE ? write : path->kind == CAGE_DEVICE ? use : read;
        error = allow(ruleset, path->path, access);
    }
    if (error == 0 && program >= 0) error = allow_open(ruleset, program, read);
    // The folders of a view hold nothing but what is granted.
    if (error == 0 && has_view) error = allow(ruleset, "/", FS_READ_DIR);
    if (has_proc) {
        // The processes there are those of the cage.
        if (error == 0) error = allow(ruleset, "/proc", read | (handled.fs & (FS_WRITE_FILE | FS_TRUNCATE)));
    } else {
        for (const char *const *file = cage_machine_files; error == 0 && *file != NULL; file++)
            error = allow(ruleset, *file, read);
        // This process becomes the program of the stage. Its children have other folders, and see none.
        char own[64] = "/proc/";
        ssize_t length = readlink("/proc/self", own + 6, sizeof own - 7);
        if (error == 0 && length > 0) error = allow(ruleset, own, read);
    }
    if (error == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) error = errno;
    close(ruleset);
    return error;
}
