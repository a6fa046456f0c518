// What glibc's malloc offers beyond the C standard, for Swift, whose Glibc overlay lacks it.
#ifndef THERAPYBRIDGE_CMEMORY_H
#define THERAPYBRIDGE_CMEMORY_H

// Has blocks of 256 KiB and more always taken from the system one by one, so that the tables of thousands of streams are
// given back whole when they grow and move: mallopt(3), M_MMAP_THRESHOLD, whose default adapts itself up to 32 MiB.
void cmemory_keep_large_blocks_apart(void);

// Gives free memory back to the system: malloc_trim(3) with no padding.
void cmemory_trim(void);

#endif
