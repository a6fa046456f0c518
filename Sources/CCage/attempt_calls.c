#define _GNU_SOURCE
#include "attempts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MEMFD_SECRET 447
#define IO_URING_SETUP 425

static void try_to_connect(const char *port) {
    int end = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int status = end < 0 ? -1 : connect(end, (struct sockaddr *)&address, sizeof address);
    // A refusal comes from a machine that was reached.
    cage_tell("connect", status == 0 || (end >= 0 && (errno == EINPROGRESS || errno == ECONNREFUSED)));
}

// Makes a pair of sockets of a type, with the flags that programs add.
static void try_pair(const char *type) {
    int ends[2];
    cage_tell("pair", socketpair(AF_UNIX, atoi(type) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
}

static void try_netlink(const char *protocol) {
    cage_tell("netlink", socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, atoi(protocol)) >= 0);
}

// Makes a raw socket of a family. Some families have no other type.
static void try_socket(const char *family) {
    cage_tell("socket", socket(atoi(family), SOCK_RAW | SOCK_CLOEXEC, 0) >= 0);
}

// Makes memory that is in no address space.
static void try_memory(const char *size) {
    int file = (int)syscall(SYS_memfd_create, "stage", 0);
    cage_tell("memory", file >= 0 && ftruncate(file, atol(size)) == 0);
    // A kernel without secret memory answers as the filter could not: the call needs a start option.
    errno = 0;
    cage_tell("secret memory", syscall(MEMFD_SECRET, 0) >= 0);
}

static void try_rings(const char *unused) {
    (void)unused;
    unsigned long context = 0;
    cage_tell("rings", syscall(SYS_io_setup, 1, &context) == 0);
    char parameters[128] = {0};
    cage_tell("rings", syscall(IO_URING_SETUP, 1, parameters) >= 0);
}

bool cage_try_call(const char *attempt, const char *value) {
    const struct { const char *name; void (*make)(const char *); } attempts[] = {
        {"connect", try_to_connect}, {"pair", try_pair}, {"netlink", try_netlink}, {"memory", try_memory},
        {"rings", try_rings}, {"socket", try_socket},
    };
    for (size_t index = 0; index < sizeof attempts / sizeof *attempts; index++) {
        if (strcmp(attempt, attempts[index].name) != 0) continue;
        attempts[index].make(value);
        return true;
    }
    return false;
}
