// Measured values and their quantiles.
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

// Sorts the values. Call this before samples_share.
void samples_sort(struct samples *samples);

// The quantile of the sorted values (share 0 to 1), by the nearest rank; -1 without values.
double samples_share(const struct samples *samples, double share);

#endif
