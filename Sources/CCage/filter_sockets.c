#define _GNU_SOURCE
#include "filter.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/syscall.h>

// With a network: sockets of IPv4 and IPv6, and the routes that tell a resolver which addresses the machine has.
//
// No socket of the Unix domain: Landlock before version 9 does not check them, and one leads to PostgreSQL. The other
// protocols of netlink watch or change the kernel: audit, firewalls, devices, security modules.
static void allow_network(struct cage_filter *filter) {
    only_for(filter, SYS_socket, 8);
    load(filter, ARGUMENT(0));
    if_equal(filter, AF_INET, 5, 0);
    if_equal(filter, AF_INET6, 4, 0);
    if_equal(filter, AF_NETLINK, 0, 2);
    load(filter, ARGUMENT(2));
    if_equal(filter, NETLINK_ROUTE, 1, 0);
    answer(filter, FAIL(EACCES));
    load(filter, WORD(nr));
}

void cage_limit_sockets(struct cage_filter *filter, bool network) {
    if (network) allow_network(filter);
    else refuse(filter, SYS_socket, FAIL(EACCES));
    // A connected pair leads nowhere else. One of datagrams does: each datagram may name another receiver. The kernel makes
    // datagrams of SOCK_RAW, too: unix_create() in net/unix/af_unix.c. The flags are beside the type: socket(2).
    only_for(filter, SYS_socketpair, 8);
    load(filter, ARGUMENT(0));
    if_equal(filter, AF_UNIX, 0, 4);
    load(filter, ARGUMENT(1));
    keep_bits(filter, ~(unsigned)(SOCK_CLOEXEC | SOCK_NONBLOCK));
    if_equal(filter, SOCK_STREAM, 2, 0);
    if_equal(filter, SOCK_SEQPACKET, 1, 0);
    answer(filter, FAIL(EACCES));
    load(filter, WORD(nr));
}
