#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The largest plan in bytes: thousands of paths and the environment.
#define LARGEST_PLAN (16 << 20)

static int read_fully(int descriptor, void *bytes, size_t count) {
    char *position = bytes;
    while (count > 0) {
        ssize_t got = read(descriptor, position, count);
        if (got == 0) return EPIPE;
        if (got < 0) {
            if (errno == EINTR) continue;
            return errno;
        }
        position += got;
        count -= (size_t)got;
    }
    return 0;
}

// Appends to a list that grows by doubling. Returns the new element, or NULL without memory.
static void *append(void **list, size_t *count, size_t size) {
    if ((*count & (*count + 1)) == 0) {
        void *longer = realloc(*list, (2 * *count + 2) * size);
        if (longer == NULL) return NULL;
        *list = longer;
    }
    return (char *)*list + size * (*count)++;
}

// Appends a text to a list that execve(2) takes: the element behind the last one is NULL.
static int append_text(char ***list, size_t *count, char *text) {
    char **element = append((void **)list, count, sizeof(char *));
    if (element == NULL) return ENOMEM;
    element[0] = text;
    element[1] = NULL;
    return 0;
}

static int take(struct cage_plan *plan, char tag, char *text, uint32_t length) {
    switch (tag) {
    case CAGE_PROGRAM: plan->program = text; return 0;
    case CAGE_DIRECTORY: plan->directory = text; return 0;
    case CAGE_INPUT: plan->input = text; return 0;
    case CAGE_ARGUMENT: return append_text(&plan->arguments, &plan->argument_count, text);
    case CAGE_VARIABLE: return append_text(&plan->environment, &plan->variable_count, text);
    case CAGE_READABLE:
    case CAGE_WRITABLE:
    case CAGE_DEVICE: {
        if (text[0] != '/') return EINVAL;
        struct cage_path *path = append((void **)&plan->paths, &plan->path_count, sizeof *path);
        if (path == NULL) return ENOMEM;
        *path = (struct cage_path){tag, text};
        return 0;
    }
    case CAGE_GROUP: {
        uint64_t value;
        if (length != sizeof value) return EINVAL;
        memcpy(&value, text, sizeof value);
        gid_t *group = append((void **)&plan->groups, &plan->group_count, sizeof *group);
        if (group == NULL) return ENOMEM;
        *group = (gid_t)value;
        return 0;
    }
    case CAGE_NUMBER: {
        uint8_t which = (uint8_t)text[0];
        if (length != 1 + sizeof(uint64_t) || which >= CAGE_NUMBERS) return EINVAL;
        memcpy(&plan->numbers[which], text + 1, sizeof(uint64_t));
        return 0;
    }
    default: return EINVAL;
    }
}

int cage_read_plan(int descriptor, struct cage_plan *plan) {
    memset(plan, 0, sizeof *plan);
    for (int which = 0; which < CAGE_NUMBERS; which++) plan->numbers[which] = CAGE_UNSET;
    size_t total = 0;
    for (;;) {
        struct {
            char tag;
            uint32_t length;
        } __attribute__((packed)) head;
        int error = read_fully(descriptor, &head, sizeof head);
        if (error != 0) return error;
        if (head.tag == CAGE_END) break;
        total += head.length + sizeof head;
        if (total > LARGEST_PLAN) return E2BIG;
        char *text = malloc((size_t)head.length + 1);
        if (text == NULL) return ENOMEM;
        error = read_fully(descriptor, text, head.length);
        text[head.length] = 0;
        if (error == 0) error = take(plan, head.tag, text, head.length);
        if (error != 0) return error;
    }
    if (plan->environment == NULL) {
        static char *empty[] = {NULL};
        plan->environment = empty;
    }
    return plan->program != NULL && plan->arguments != NULL && plan->directory != NULL ? 0 : EINVAL;
}
