// Measured values, and what they come to.
#ifndef SSELOAD_SAMPLES_H
#define SSELOAD_SAMPLES_H

#include <stddef.h>

struct samples {
    double *values;
    size_t count;
    size_t capacity;
};

void samples_add(struct samples *samples, double value);

void samples_clear(struct samples *samples);

// Has to be done before a share is asked for.
void samples_sort(struct samples *samples);

// The value that this share (0 to 1) of the sorted values does not exceed, by the nearest rank; -1 when there are none.
double samples_share(const struct samples *samples, double share);

#endif
