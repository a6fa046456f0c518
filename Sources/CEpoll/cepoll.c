#define _GNU_SOURCE

#include "CEpoll.h"

#include <stddef.h>
#include <sys/prctl.h>

int cepoll_create(void) {
    return epoll_create1(EPOLL_CLOEXEC);
}

int cepoll_control(int epoll, int operation, int descriptor, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data = {.u64 = token}};
    return epoll_ctl(epoll, operation, descriptor, &event);
}

int cepoll_eventfd(void) {
    return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

int cepoll_eventfd_signal(int descriptor) {
    return eventfd_write(descriptor, 1);
}

int cepoll_eventfd_clear(int descriptor) {
    eventfd_t value;
    return eventfd_read(descriptor, &value);
}

int cepoll_accept(int listening, struct sockaddr_storage *peer) {
    socklen_t length = sizeof *peer;
    return accept4(listening, (struct sockaddr *)peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

void cepoll_name_this_thread(const char *name) {
    prctl(PR_SET_NAME, name);
}
