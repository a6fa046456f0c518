// The attempts of the inspector on files and by system calls.
#ifndef THERAPYBRIDGE_CCAGE_ATTEMPTS_H
#define THERAPYBRIDGE_CCAGE_ATTEMPTS_H

#include <stdbool.h>

// Prints what happened to one attempt: "ok", or the name of the error.
void cage_tell(const char *name, bool succeeded);

// Makes one attempt on a file. Returns false if the attempt has another name.
bool cage_try_file(const char *attempt, const char *path);

// Makes one attempt by a system call. Returns false if the attempt has another name.
bool cage_try_call(const char *attempt, const char *value);

#endif
