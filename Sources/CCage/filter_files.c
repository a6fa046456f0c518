#define _GNU_SOURCE
#include "filter.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

// Calls that change the mode, owner, times or attributes of a file. Landlock does not know them, and a descriptor that was
// opened for reading is enough for some. Where the stage shares the real file system, they succeed and do nothing: programs
// such as cp -p would otherwise stop. A stage cannot change the attributes of its own files either, because a filter sees no
// path.
static const int attributes[] = {
    SYS_fchmod, SYS_fchmodat, fchmodat2_number, SYS_fchown, SYS_fchownat, SYS_utimensat, SYS_setxattr, SYS_lsetxattr,
    SYS_fsetxattr, setxattrat_number, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr, removexattrat_number,
    file_setattr_number,
#if defined(__x86_64__)
    SYS_chmod, SYS_chown, SYS_lchown, SYS_utime, SYS_utimes, SYS_futimesat,
#endif
};

// The kinds of ioctl(2) that a stage needs: the second byte of the request. All others are "inappropriate" (ENOTTY), as for a
// file system that does not have them.
//
// The owner of a file changes its flags, its extents and its project by a descriptor that was opened for reading
// (FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR, FIDEDUPERANGE), and each file system has more of the kind. They make subvolumes, too,
// which the worker could not remove with the folder of the stage. A list of what is allowed does not miss one.
static const unsigned char requests[] = {
    'T',   // Terminals, and FIONREAD, FIONBIO and FIOCLEX of all descriptors.
    0x89,  // Sockets.
    0x00,  // NVIDIA's unified memory. FIGETBSZ and FIBMAP of files have this byte too, and change nothing.
    'F',   // NVIDIA's graphics processors.
    'm',   // NVIDIA's mode setting.
    'd',   // Direct rendering, and accelerators.
    'K',   // AMD's compute driver.
    'G',   // The graphics processors of a Windows host.
};

// Refuses a mode with the bits that let a program run as another user or group: a stage runs as the worker's user, and could
// leave such a program in a folder of PIPELINE_STAGE_WRITES.
static void forbid_set_user_id(struct cage_filter *filter, int number, int mode) {
    only_for(filter, number, 4);
    load(filter, ARGUMENT(mode));
    if_any(filter, S_ISUID | S_ISGID, 0, 1);
    answer(filter, FAIL(EPERM));
    load(filter, WORD(nr));
}

// Does the same for calls whose mode means something only with O_CREAT.
static void forbid_opening_set_user_id(struct cage_filter *filter, int number, int flags) {
    only_for(filter, number, 6);
    load(filter, ARGUMENT(flags));
    if_any(filter, O_CREAT, 0, 3);
    load(filter, ARGUMENT(flags + 1));
    if_any(filter, S_ISUID | S_ISGID, 0, 1);
    answer(filter, FAIL(EPERM));
    load(filter, WORD(nr));
}

static void forbid_modes(struct cage_filter *filter) {
    forbid_set_user_id(filter, SYS_fchmod, 1);
    forbid_set_user_id(filter, SYS_fchmodat, 2);
    forbid_set_user_id(filter, fchmodat2_number, 2);
    forbid_set_user_id(filter, SYS_mknodat, 2);
    forbid_opening_set_user_id(filter, SYS_openat, 2);
#if defined(__x86_64__)
    forbid_set_user_id(filter, SYS_chmod, 1);
    forbid_set_user_id(filter, SYS_creat, 1);
    forbid_set_user_id(filter, SYS_mknod, 1);
    forbid_opening_set_user_id(filter, SYS_open, 1);
#endif
    // Its mode is in memory, where a filter cannot look. Programs then use openat(2).
    refuse(filter, openat2_number, FAIL(ENOSYS));
}

// Refuses to empty a file that is opened for reading.
static void forbid_emptying(struct cage_filter *filter, int number, int flags) {
    only_for(filter, number, 6);
    load(filter, ARGUMENT(flags));
    if_any(filter, O_TRUNC, 0, 3);
    keep_bits(filter, O_ACCMODE);
    if_equal(filter, O_RDONLY, 0, 1);
    answer(filter, FAIL(EACCES));
    load(filter, WORD(nr));
}

// Landlock before version 3 does not check truncation: "truncate(2)… is always allowed"
// (https://docs.kernel.org/userspace-api/landlock.html, "File truncation"). ftruncate(2) needs a descriptor for writing.
static void forbid_truncation(struct cage_filter *filter) {
    refuse(filter, SYS_truncate, FAIL(EACCES));
    forbid_emptying(filter, SYS_openat, 2);
#if defined(__x86_64__)
    forbid_emptying(filter, SYS_open, 1);
#endif
}

static void limit_requests(struct cage_filter *filter) {
    const unsigned char count = sizeof requests;
    only_for(filter, SYS_ioctl, (unsigned char)(count + 8));
    load(filter, ARGUMENT(1));
    // A stage cannot write into the input of its terminal.
    if_equal(filter, 0x5412 /* TIOCSTI */, (unsigned char)(count + 4), 0);
    if_equal(filter, 0x541c /* TIOCLINUX */, (unsigned char)(count + 3), 0);
    add(filter, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 8));
    keep_bits(filter, 0xff);
    for (unsigned char index = 0; index < count; index++)
        if_equal(filter, requests[index], (unsigned char)(count - index + 1), 0);
    answer(filter, FAIL(ENOTTY));
    answer(filter, FAIL(EPERM));
    load(filter, WORD(nr));
}

void cage_limit_files(struct cage_filter *filter, bool has_view, int landlock_version) {
    forbid_modes(filter);
    limit_requests(filter);
    // The owner of a file can make others wait until they may open it, also on a file system that is read-only.
    only_for(filter, SYS_fcntl, 4);
    load(filter, ARGUMENT(1));
    if_equal(filter, F_SETLEASE, 0, 1);
    answer(filter, FAIL(EPERM));
    load(filter, WORD(nr));
    if (has_view) return;
    for (size_t index = 0; index < sizeof attributes / sizeof *attributes; index++)
        refuse(filter, attributes[index], FAIL(0));
    // A watch would tell the names of new recordings.
    refuse(filter, SYS_inotify_add_watch, FAIL(EPERM));
    if (landlock_version > 0 && landlock_version < 3) forbid_truncation(filter);
}
