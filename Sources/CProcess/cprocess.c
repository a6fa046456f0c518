#define _GNU_SOURCE
#include "CProcess.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

void cprocess_forbid_dumps(void) {
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

void cprocess_wipe_variable(const char *name) {
    size_t length = strlen(name);
    // A parent may pass a name twice. getenv(3) finds only the first one.
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        if (strncmp(*entry, name, length) != 0 || (*entry)[length] != '=') continue;
        char *value = *entry + length + 1;
        explicit_bzero(value, strlen(value));
    }
    unsetenv(name);
}

_Bool cprocess_move_variable(const char *name) {
    const char *value = getenv(name);
    if (value == NULL) return 1;
    char *copy = strdup(value);
    cprocess_wipe_variable(name);
    if (copy == NULL) return 0;
    int status = setenv(name, copy, 1);
    explicit_bzero(copy, strlen(copy));
    free(copy);
    return status == 0;
}
