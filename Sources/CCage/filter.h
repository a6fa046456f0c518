// The parts of the filter of system calls: a program of classic BPF, and what adds to it.
//
// Between two parts, the number of the call is in the accumulator.
#ifndef THERAPYBRIDGE_CCAGE_FILTER_H
#define THERAPYBRIDGE_CCAGE_FILTER_H

#include "internal.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

#define CAGE_LONGEST_FILTER 500

struct cage_filter {
    struct sock_filter code[CAGE_LONGEST_FILTER];
    unsigned short count;
};

#define WORD(field) offsetof(struct seccomp_data, field)
// The low half of an argument, on a little-endian processor. The kernel reads no more of an int.
#define ARGUMENT(index) (WORD(args) + 8 * (index))
#define FAIL(number) (SECCOMP_RET_ERRNO | (number))

// The numbers of newer calls are the same on all processors.
enum {
    io_uring_setup_number = 425, io_uring_enter_number = 426, io_uring_register_number = 427, open_tree_number = 428,
    move_mount_number = 429, fsopen_number = 430, fsconfig_number = 431, fsmount_number = 432, fspick_number = 433,
    clone3_number = 435, openat2_number = 437, pidfd_getfd_number = 438, process_madvise_number = 440, mount_setattr_number = 442,
    quotactl_fd_number = 443, memfd_secret_number = 447, process_mrelease_number = 448, fchmodat2_number = 452,
    setxattrat_number = 463, removexattrat_number = 466, open_tree_attr_number = 467, file_setattr_number = 469,
};

static inline void add(struct cage_filter *filter, struct sock_filter instruction) {
    if (filter->count < CAGE_LONGEST_FILTER) filter->code[filter->count] = instruction;
    filter->count++;
}

static inline void load(struct cage_filter *filter, unsigned offset) {
    add(filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
}

static inline void keep_bits(struct cage_filter *filter, unsigned bits) {
    add(filter, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, bits));
}

// Skips instructions by whether the accumulator equals a value.
static inline void if_equal(struct cage_filter *filter, unsigned value, unsigned char then, unsigned char otherwise) {
    add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise));
}

// Skips instructions by whether the accumulator has one of some bits.
static inline void if_any(struct cage_filter *filter, unsigned bits, unsigned char then, unsigned char otherwise) {
    add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, then, otherwise));
}

static inline void answer(struct cage_filter *filter, unsigned action) {
    add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

// Answers a call by its number alone.
static inline void refuse(struct cage_filter *filter, int number, unsigned action) {
    if_equal(filter, (unsigned)number, 0, 1);
    answer(filter, action);
}

// Skips the next `count` instructions unless the call has this number.
static inline void only_for(struct cage_filter *filter, int number, unsigned char count) {
    if_equal(filter, (unsigned)number, 0, count);
}

// Allows sockets of the network, if the stage has one, and pairs that lead nowhere else.
void cage_limit_sockets(struct cage_filter *filter, bool network);

// Forbids changes of files that Landlock and a view let pass.
//
// `has_view` tells whether the stage sees nothing but its view, `landlock_version` which interface keeps it in, or 0.
void cage_limit_files(struct cage_filter *filter, bool has_view, int landlock_version);

#endif
