// epoll, eventfd and accept4 for Swift, whose Glibc overlay lacks them.
#ifndef THERAPYBRIDGE_CEPOLL_H
#define THERAPYBRIDGE_CEPOLL_H

#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static const uint32_t cepoll_in = EPOLLIN;
static const uint32_t cepoll_out = EPOLLOUT;
static const uint32_t cepoll_rdhup = EPOLLRDHUP;
static const uint32_t cepoll_err = EPOLLERR;
static const uint32_t cepoll_hup = EPOLLHUP;

static const int cepoll_add = EPOLL_CTL_ADD;
static const int cepoll_mod = EPOLL_CTL_MOD;
static const int cepoll_del = EPOLL_CTL_DEL;

// Makes an epoll instance that is closed on exec.
int cepoll_create(void);

// Calls epoll_ctl(2). The union in `struct epoll_event` always carries `token`.
int cepoll_control(int epoll, int operation, int descriptor, uint32_t events, uint64_t token);

// Makes a non-blocking eventfd(2) that is closed on exec.
int cepoll_eventfd(void);

// Adds one to the counter of an eventfd.
int cepoll_eventfd_signal(int descriptor);

// Reads the counter of an eventfd, which resets it.
int cepoll_eventfd_clear(int descriptor);

// Accepts a connection by accept4(2), non-blocking and closed on exec. `peer` gets the address of the other end.
int cepoll_accept(int listening, struct sockaddr_storage *peer);

// Names the calling thread. Linux keeps 15 bytes.
void cepoll_name_this_thread(const char *name);

#endif
