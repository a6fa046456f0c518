// What glibc's malloc offers beyond the C standard, for Swift, whose Glibc overlay lacks it.
#ifndef THERAPYBRIDGE_CMEMORY_H
#define THERAPYBRIDGE_CMEMORY_H

// Gives free memory back to the system: malloc_trim(3) with no padding.
void cmemory_trim(void);

#endif
