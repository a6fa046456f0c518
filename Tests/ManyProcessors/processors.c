// Lets a program see 64 processors: the dynamic linker takes these functions before those of the C library (LD_PRELOAD).
#define _GNU_SOURCE
#include "ManyProcessors.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

static int see_many(size_t size, cpu_set_t *set) {
    memset(set, 0, size);
    for (int processor = 0; processor < MANY_PROCESSORS; processor++) CPU_SET_S(processor, size, set);
    return 0;
}

int sched_getaffinity(pid_t process, size_t size, cpu_set_t *set) {
    (void)process;
    return see_many(size, set);
}

int pthread_getaffinity_np(pthread_t thread, size_t size, cpu_set_t *set) {
    (void)thread;
    return see_many(size, set);
}

int get_nprocs(void) { return MANY_PROCESSORS; }

int get_nprocs_conf(void) { return MANY_PROCESSORS; }

long sysconf(int name) {
    if (name == _SC_NPROCESSORS_ONLN || name == _SC_NPROCESSORS_CONF) return MANY_PROCESSORS;
    static long (*next)(int);
    if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, "sysconf");
    return next(name);
}
