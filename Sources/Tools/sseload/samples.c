#include "samples.h"

#include <err.h>
#include <stdlib.h>

void samples_add(struct samples *samples, double value) {
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity == 0 ? 4096 : samples->capacity * 2;
        samples->values = reallocarray(samples->values, samples->capacity, sizeof *samples->values);
        if (samples->values == NULL) err(EXIT_FAILURE, "out of memory");
    }
    samples->values[samples->count++] = value;
}

void samples_clear(struct samples *samples) {
    samples->count = 0;
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

void samples_sort(struct samples *samples) {
    if (samples->count > 0) qsort(samples->values, samples->count, sizeof *samples->values, compare);
}

double samples_share(const struct samples *samples, double share) {
    if (samples->count == 0) return -1;
    double exact = share * (double)samples->count;
    size_t rank = (size_t)exact;
    if ((double)rank < exact) rank++;
    return samples->values[rank == 0 ? 0 : rank - 1];
}
