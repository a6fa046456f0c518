// Runs a program on a host that seems to lack parts of the kernel: without-layers [landlock] [namespaces] -- PROGRAM ARGUMENT...
//
// A filter of system calls answers as a kernel without Landlock does, or as a container that allows no namespaces.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LANDLOCK_CREATE_RULESET 444
#define CLONE3 435

static struct sock_filter code[32];
static unsigned short count;

static void add(struct sock_filter instruction) { code[count++] = instruction; }

static void refuse(unsigned number, unsigned error) {
    add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error));
}

int main(int argument_count, char *arguments[]) {
    int index = 1;
    add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    for (; index < argument_count && strcmp(arguments[index], "--") != 0; index++) {
        if (strcmp(arguments[index], "landlock") == 0) {
            refuse(LANDLOCK_CREATE_RULESET, EOPNOTSUPP);
        } else if (strcmp(arguments[index], "namespaces") == 0) {
            refuse(SYS_unshare, EPERM);
            refuse(CLONE3, ENOSYS);
        } else if (strcmp(arguments[index], "mounts") == 0) {
            refuse(SYS_mount, EACCES);
        } else {
            fprintf(stderr, "unknown layer: %s\n", arguments[index]);
            return 64;
        }
    }
    add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    struct sock_fprog filter = {count, code};
    // An ordinary user may only filter what gains no privileges.
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) {
        perror("without-layers");
        return 1;
    }
    if (index + 1 < argument_count) execv(arguments[index + 1], arguments + index + 1);
    perror("without-layers");
    return 127;
}
