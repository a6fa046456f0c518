// The functions of glibc's malloc that the C standard lacks, for Swift, whose Glibc overlay lacks them too.
#ifndef THERAPYBRIDGE_CMEMORY_H
#define THERAPYBRIDGE_CMEMORY_H

// Makes malloc map each block of 256 KiB or more separately: mallopt(3), M_MMAP_THRESHOLD, whose default grows up to 32
// MiB. When a table of thousands of streams grows and moves, its old block then returns to the system whole.
void cmemory_keep_large_blocks_apart(void);

// Gives free memory back to the system: malloc_trim(3) with no padding.
void cmemory_trim(void);

#endif
