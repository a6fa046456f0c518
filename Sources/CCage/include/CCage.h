// The launcher of a cage: this program executed anew, with one thread, an empty environment and a plan on standard input.
//
// A constructor takes over before main when the first argument is CAGE_LAUNCHER. Every program that links this module can
// therefore be its own launcher, and no thread of Swift's runtime has started by then.
#ifndef THERAPYBRIDGE_CCAGE_H
#define THERAPYBRIDGE_CCAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// The first argument of the launcher.
#define CAGE_LAUNCHER "cage-launcher"
// The first argument of the inspector: a stage that tries what a cage forbids, and prints what it could do.
#define CAGE_INSPECTOR "cage-inspector"

// The tags of a plan. A plan is a sequence of records: one byte of tag, four bytes of length in the order of this machine,
// then the bytes. CAGE_END is the last record.
enum {
    CAGE_PROGRAM = 'p',      // The absolute path of the program.
    CAGE_ARGUMENT = 'a',     // One argument, the name of the program first.
    CAGE_VARIABLE = 'e',     // One NAME=VALUE of the environment.
    CAGE_DIRECTORY = 'd',    // The working directory.
    CAGE_INPUT = 'i',        // The file that becomes standard input. Without it, /dev/null does.
    CAGE_READABLE = 'r',     // A path that the stage may read and execute, with everything below it.
    CAGE_WRITABLE = 'w',     // A path that the stage may also write to.
    CAGE_DEVICE = 'v',       // A device that the stage may use.
    CAGE_GROUP = 'g',        // A supplementary group: eight bytes.
    CAGE_NUMBER = 'n',       // One byte: which number. Then eight bytes: its value.
    CAGE_END = 'z',
};

// The numbers of a plan. A number that is not set has the value CAGE_UNSET.
enum {
    CAGE_PROCESSOR_SECONDS,  // RLIMIT_CPU
    CAGE_ADDRESS_SPACE,      // RLIMIT_AS
    CAGE_FILE_SIZE,          // RLIMIT_FSIZE
    CAGE_DESCRIPTORS,        // RLIMIT_NOFILE
    CAGE_PROCESSES,          // RLIMIT_NPROC. Set only inside a user namespace of its own.
    CAGE_STACK,              // RLIMIT_STACK
    CAGE_NETWORK,            // 1: the stage may open sockets of IPv4 and IPv6.
    CAGE_USER,               // The Unix user and group that launcher and stage change to.
    CAGE_USER_GROUP,
    CAGE_GRACE,              // Milliseconds between SIGTERM and SIGKILL.
    CAGE_USED,               // The mechanisms to use: bits 1 << CAGE_..., below.
    CAGE_REQUIRED,           // The mechanisms without which the stage does not start.
    CAGE_LANDLOCK_VERSION,   // The newest version of Landlock's interface to use: a newer kernel then acts as an older one.
    CAGE_NUMBERS,
};
#define CAGE_UNSET UINT64_MAX

// The mechanisms of the kernel, and the steps that can fail. The launcher reports each one on its standard input, which is a
// socket: a `struct cage_report`.
enum {
    CAGE_ACCOUNT,            // The change to another Unix user.
    CAGE_USER_NAMESPACE,
    CAGE_PROCESS_NAMESPACE,
    CAGE_MOUNT_NAMESPACE,    // A file system with nothing but the paths of the plan.
    CAGE_NETWORK_NAMESPACE,
    CAGE_LANDLOCK,           // `detail` is the version of its interface.
    CAGE_SECCOMP,
    CAGE_PROC,               // A /proc with the cage's own processes alone.
    CAGE_MECHANISMS,
    CAGE_SETUP = 64,         // The stage did not start. `detail` is the mechanism that failed half-way or is missing, or -1.
    CAGE_EXECUTION,          // execve(2) of the program.
    CAGE_STATUS,             // `detail` is the wait status of the stage.
};

struct cage_report {
    int32_t what;
    int32_t error;           // An errno value, or 0.
    int32_t detail;
};

// The exit status of a launcher that could not start the stage.
#define CAGE_NOT_STARTED 71

// The arguments of this process, the name of the program first. They do not depend on /proc.
int cage_argument_count(void);
const char *cage_argument(int index);

// Makes a pair of connected sockets that are closed on exec. Returns 0 or an errno value.
int cage_channel(int ends[2]);

// Writes all bytes to one end. Returns 0 or an errno value. A peer that is gone raises no SIGPIPE.
int cage_send(int end, const void *bytes, size_t count);

// Reads what is there, without waiting. Returns the number of bytes, 0 at the end, or -1.
ssize_t cage_receive(int end, void *bytes, size_t count);

// Makes this process the one that orphans of its descendants get as their parent. Returns 0 or an errno value.
int cage_adopt_orphans(void);

#endif
