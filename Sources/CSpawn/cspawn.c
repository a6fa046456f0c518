#define _GNU_SOURCE
#include "CSpawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>

int cspawn_channel(int ends[2]) {
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0 ? 0 : errno;
}

ssize_t cspawn_send(int end, const void *bytes, size_t count) {
    return send(end, bytes, count, MSG_NOSIGNAL);
}

int cspawn_start(pid_t *child, char *const arguments[], char *const environment[], int input, const char *output_path) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t signals;
    int status = posix_spawn_file_actions_init(&actions);
    if (status != 0) return status;
    status = posix_spawnattr_init(&attributes);
    if (status != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return status;
    }

    if (input >= 0) status = posix_spawn_file_actions_adddup2(&actions, input, 0);
    else status = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (status == 0)
        status = posix_spawn_file_actions_addopen(&actions, 1, output_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (status == 0) status = posix_spawn_file_actions_adddup2(&actions, 1, 2);
    if (status == 0) status = posix_spawn_file_actions_addclosefrom_np(&actions, 3);

    sigemptyset(&signals);
    if (status == 0) status = posix_spawnattr_setsigmask(&attributes, &signals);
    sigfillset(&signals);
    if (status == 0) status = posix_spawnattr_setsigdefault(&attributes, &signals);
    if (status == 0)
        status = posix_spawnattr_setflags(
            &attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (status == 0) status = posix_spawn(child, arguments[0], &actions, &attributes, arguments, environment);

    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return status;
}
