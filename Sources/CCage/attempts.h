// The attempts of the inspector on files, on processes and by system calls.
#ifndef THERAPYBRIDGE_CCAGE_ATTEMPTS_H
#define THERAPYBRIDGE_CCAGE_ATTEMPTS_H

#include <stdbool.h>

// Prints what happened to one attempt: "ok", or the name of the error.
void cage_tell(const char *name, bool succeeded);

// Makes one attempt on a file. Returns false if the attempt has another name.
bool cage_try_file(const char *attempt, const char *path);

// Makes one attempt by a system call. Returns false if the attempt has another name.
bool cage_try_call(const char *attempt, const char *value);

// Makes every system call that no stage needs. Returns false if the attempt has another name.
bool cage_try_kernel(const char *attempt, const char *value);

// Makes one attempt on the marks of this process or on other processes. Returns false if the attempt has another name.
bool cage_try_process(const char *attempt, const char *value);

#endif
